-- Each request to another of so many paths: wrk ... -- COUNT
function init(arguments)
   count = tonumber(arguments[1])
   math.randomseed(42)
end

function request()
   return wrk.format("GET", "/r" .. math.random(1, count - 1) .. "/page")
end
