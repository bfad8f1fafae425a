-- Each request with another of the tokens of a file; in turn where it is told where to begin:
-- wrk ... -- FILE COUNT [FIRST]
function init(arguments)
   tokens = {}
   for line in io.lines(arguments[1]) do
      tokens[#tokens + 1] = line
      if #tokens == tonumber(arguments[2]) then
         break
      end
   end
   number = tonumber(arguments[3])
   math.randomseed(42)
end

function request()
   local index
   if number then
      index = number % #tokens + 1
      number = number + 1
   else
      index = math.random(1, #tokens)
   end
   wrk.headers["Authorization"] = "Bearer " .. tokens[index]
   return wrk.format()
end
