-- The account: its names, its logical clock, its own scope. In front of every script.
-- ARGV[1]  account
-- Reads    falq:{a}:scope:@
-- Gives    now: microseconds of a clock that neither jumps back nor leaps. It follows the
--          wall by at most CAP per call, so a leap of the wall or a long outage cannot
--          expire a lease that is renewed in time, nor release more than CAP's permits.
local ACCOUNT = ARGV[1]
local P = 'falq:{' .. ACCOUNT .. '}:'
local SCOPE, WAITING = P .. 'scope:', P .. 'waiting:'
-- Who holds a unit of concurrency: with an expiry in the account, as a plain set in a queue.
local LEASES, HELD = P .. 'leases', P .. 'held:'
local READY, PARKED, WAITERS, ADOPT = P .. 'ready', P .. 'parked', P .. 'waiters', P .. 'adopt'
local ROOT = SCOPE .. '@'
local JOB, RQ_JOB, RQ_QUEUE = 'falq:job:', 'rq:job:', 'rq:queue:'
local CAP, INF, KEEP_S = 5000000, 9e15, 604800

local function whole(x) return string.format('%.0f', x) end

local wall = wall_clock()
local root = call('HMGET', ROOT, 'wall', 'now', 'virtual', 'token', 'timer', 'timer_worker',
  'max_concurrent', 'interval_us', 'emission_us', 'burst', 'paused', 'hold_until', 'tat', 'last',
  'asleep', 'offers', 'due')
local now = wall
if root[1] then
  now = tonumber(root[2]) + math.min(math.max(wall - tonumber(root[1]), 0), CAP)
end
-- Virtual time of start-time fair queueing: that of the last queue that started a job.
local virtual = tonumber(root[3]) or 0
-- Hints that save looking: whether anybody may sleep, whether jobs may wait to be adopted, and
-- a time before which no parked queue may start.
local asleep, offers, due = root[15] == '1', root[16] == '1', tonumber(root[17]) or INF

local function keep_time() call('HSET', ROOT, 'wall', whole(wall), 'now', whole(now)) end
local function wall_s() return string.format('%.6f', wall / 1000000) end
local function count(name) call('HINCRBY', 'falq:counters', name, 1) end
