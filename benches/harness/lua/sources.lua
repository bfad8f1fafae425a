-- Each request from another of so many addresses, as a trusted proxy would say; in turn where it is
-- told where to begin: wrk ... -- COUNT [FIRST]
function init(arguments)
   count = tonumber(arguments[1])
   number = tonumber(arguments[2])
   math.randomseed(42)
end

function request()
   local source
   if number then
      source = number % count
      number = number + 1
   else
      source = math.random(0, count - 1)
   end
   wrk.headers["X-Forwarded-For"] = string.format(
      "10.%d.%d.%d", math.floor(source / 65536), math.floor(source / 256) % 256, source % 256
   )
   return wrk.format()
end
