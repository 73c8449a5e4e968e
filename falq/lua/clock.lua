-- Wall clock of the server in microseconds: Redis TIME, never a worker's.
local function wall_clock()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end
