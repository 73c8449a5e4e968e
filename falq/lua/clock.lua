-- The wall clock of the server in microseconds: Redis TIME, never a worker's.
local call = redis.call

local function wall_clock()
  local t = call('TIME')
  return t[1] * 1000000 + t[2]
end
