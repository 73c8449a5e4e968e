-- The wall clock of the server in microseconds: Redis TIME, never a worker's.
local call = redis.call
local time = call('TIME')
local wall = time[1] * 1000000 + time[2]
