-- The account: its names, its logical clock, its own scope. In front of every script.
-- ARGV[1]  account
-- Reads    falq:{a}:scope:@
-- Gives    K: names of keys, and constants. A: the account, a scope whose A.now counts the
--          microseconds of a clock that neither jumps back nor leaps. It follows the wall by at
--          most CAP per call, so a leap of the wall or a long outage cannot expire a lease that
--          is renewed in time, nor release more than CAP's permits.
-- Both are tables because Redis makes the functions of a script anew at every call, and each
-- variable that they share costs time then.
local P = 'falq:{' .. ARGV[1] .. '}:'
local K = {
  ACCOUNT = ARGV[1], P = P, SCOPE = P .. 'scope:', ROOT = P .. 'scope:@',
  WAITING = P .. 'waiting:', READY = P .. 'ready', PARKED = P .. 'parked',
  WAITERS = P .. 'waiters', ADOPT = P .. 'adopt',
  -- Who holds a unit of concurrency: with an expiry in the account, as a plain set in a queue.
  LEASES = P .. 'leases', HELD = P .. 'held:',
  CAP = 5000000, INF = 9e15, KEEP_S = 604800,
}
local root = call('HMGET', K.ROOT, 'wall', 'now', 'virtual', 'token', 'timer', 'timer_worker',
  'max_concurrent', 'interval_us', 'emission_us', 'burst', 'paused', 'hold_until', 'tat', 'last',
  'asleep', 'offers', 'due')
local A = {
  name = '@', wall = wall, now = wall,
  -- Virtual time of start-time fair queueing: that of the last queue that started a job.
  virtual = root[3] and tonumber(root[3]) or 0,
  token = root[4] and tonumber(root[4]) or 0,
  concurrent = root[7] and tonumber(root[7]),
  interval = root[8] and tonumber(root[8]) or 0,
  emission = root[9] and tonumber(root[9]) or 0,
  burst = root[10] and tonumber(root[10]) or 1,
  paused = root[11] == '1',
  hold_until = root[12] and tonumber(root[12]) or 0,
  tat = root[13] and tonumber(root[13]) or 0,
  last = root[14] and tonumber(root[14]),
  -- Hints that save looking: whether anybody may sleep, whether jobs may wait to be adopted,
  -- and a time before which no parked queue may start.
  asleep = root[15] == '1', offers = root[16] == '1',
  due = root[17] and tonumber(root[17]) or K.INF,
}
if root[1] then
  A.now = tonumber(root[2]) + math.min(math.max(wall - tonumber(root[1]), 0), K.CAP)
end

local function keep_time() call('HSET', K.ROOT, 'wall', A.wall, 'now', A.now) end
local function count(name) call('HINCRBY', 'falq:counters', name, 1) end
