-- Shared by every script; composed in front of it after clock.lua.
-- ARGV[1]  account
-- Touches  falq:{a}:clock (wall, now, virtual, seq, token, timer, timer_worker)
-- Gives    now: microseconds of the logical clock, which neither jumps back nor leaps:
--          it follows the wall by at most CAP per call, so a leap of the wall or a long
--          outage cannot expire a lease that is renewed every quarter of its time.
local ACCOUNT = ARGV[1]
local P = 'falq:{' .. ACCOUNT .. '}:'
local CLOCK, QUEUES, READY, PARKED = P .. 'clock', P .. 'queues', P .. 'ready', P .. 'parked'
local ADOPT, WAITERS, PATTERNS = P .. 'adopt', P .. 'waiters', P .. 'patterns'
local CAP, INF, KEEP_S, EVENTS = 5000000, 9e15, 604800, 500

local function scope_key(s) return P .. 'scope:' .. s end
local function waiting_key(q) return P .. 'waiting:' .. q end
local function leases_key(s) return P .. 'leases:' .. s end
local function job_key(id) return 'falq:job:' .. id end
local function rq_key(id) return 'rq:job:' .. id end
local function list_key(q) return 'rq:queue:' .. q end
local function whole(x) return string.format('%.0f', x) end

local wall = wall_clock()
local clock = redis.call('HMGET', CLOCK, 'wall', 'now', 'virtual', 'timer', 'timer_worker')
local now = wall
if clock[1] then
  now = tonumber(clock[2]) + math.min(math.max(wall - tonumber(clock[1]), 0), CAP)
end
local virtual = tonumber(clock[3]) or 0

local function keep_time() redis.call('HSET', CLOCK, 'wall', whole(wall), 'now', whole(now)) end
local function wall_s() return string.format('%.6f', wall / 1000000) end
local function count(name, n) redis.call('HINCRBYFLOAT', 'falq:counters', name, n or 1) end

local function tell(id, event)
  local key = 'falq:events:' .. id
  redis.call('XADD', key, 'MAXLEN', '~', EVENTS, '*', 'e', event)
  redis.call('EXPIRE', key, KEEP_S)
end

-- Wake the worker that has slept longest, still listens, and serves the queue (nil: any).
local function wake(q)
  for _, w in ipairs(redis.call('ZRANGE', WAITERS, 0, -1)) do
    local pattern = q and redis.call('HGET', PATTERNS, w)
    if not pattern or string.find(q, pattern) then
      redis.call('ZREM', WAITERS, w)
      if redis.call('PUBLISH', P .. 'wake:' .. w, 'look') > 0 then return end
      redis.call('HDEL', PATTERNS, w)
    end
  end
end

-- A queue with work is in exactly one of ready and parked.
local function enlist(q)
  if redis.call('ZCARD', waiting_key(q)) == 0 then return end
  if redis.call('ZSCORE', PARKED, q) then return end
  local vt = tonumber(redis.call('HGET', scope_key(q), 'vt')) or 0
  redis.call('ZADD', READY, 'NX', math.max(vt, virtual), q)
end

local function unpark(q)
  if redis.call('ZREM', PARKED, q) == 1 then enlist(q) end
end

local function delist(q)
  if redis.call('ZCARD', waiting_key(q)) == 0 then
    redis.call('ZREM', READY, q)
    redis.call('ZREM', PARKED, q)
  end
end

-- One scope: the wait until a start is admissible, which limit holds it, and its state.
-- A queue nobody configured has the contract's defaults; it is never unlimited.
local function look(scope)
  local s = redis.call('HMGET', scope_key(scope), 'max_concurrent', 'interval_us',
    'emission_us', 'burst', 'paused', 'hold_until', 'tat', 'last', 'vt')
  local own = scope ~= '@'
  local concurrent = tonumber(s[1]) or (own and 2 or nil)
  local interval = tonumber(s[2]) or (own and 1000000 or 0)
  local emission = tonumber(s[3]) or (own and 6000000 or 0)
  local burst = tonumber(s[4]) or (own and 5 or 1)
  local tat = math.max(tonumber(s[7]) or 0, now)
  local wait, why = 0, ''
  local function at_least(w, reason)
    if w > wait then wait, why = w, reason end
  end
  if emission > 0 then at_least(tat - (burst - 1) * emission - now, 'rate') end
  if interval > 0 and s[8] then at_least(tonumber(s[8]) + interval - now, 'interval') end
  if s[6] then at_least(tonumber(s[6]) - now, 'hold') end
  if concurrent and redis.call('ZCARD', leases_key(scope)) >= concurrent then
    at_least(INF, concurrent == 0 and 'paused' or 'concurrency')
  end
  if s[5] == '1' then wait, why = INF, 'paused' end
  return wait, why, { emission = emission, tat = tat, vt = tonumber(s[9]) or 0 }
end

local function spend(scope, state)
  redis.call('HSET', scope_key(scope), 'tat', whole(state.tat + state.emission), 'last', whole(now))
end

local function lease(id, q, until_us)
  redis.call('ZADD', leases_key('@'), whole(until_us), id)
  redis.call('ZADD', leases_key(q), whole(until_us), id)
end

local function free(id, q)
  redis.call('ZREM', leases_key('@'), id)
  redis.call('ZREM', leases_key(q), id)
  unpark(q)
end

-- Free a lease that may have held the account: whichever queue is ready may start.
local function free_and_wake(id, q)
  free(id, q)
  if redis.call('ZCARD', READY) > 0 then
    wake(redis.call('ZRANGE', READY, 0, 0)[1])
  elseif redis.call('ZCARD', PARKED) > 0 then
    wake(nil)
  end
end

-- Put a job (back) where it waits: its own score keeps its place.
local function wait_again(id, q)
  local key = job_key(id)
  local score = redis.call('HGET', key, 'score')
  redis.call('HSET', key, 'phase', 'queued', 'token', '', 'worker', '')
  redis.call('HSET', rq_key(id), 'status', 'queued')
  redis.call('ZADD', waiting_key(q), score or 0, id)
  redis.call('LREM', list_key(q), 0, id)
  redis.call('LPUSH', list_key(q), id)
  enlist(q)
end

-- End a job: nothing of it is held any more. The caller reads the record.
local function finish(id, q, phase, outcome)
  local key = job_key(id)
  local created = tonumber(redis.call('HGET', key, 'created_at')) or 0
  redis.call('HSET', key, 'phase', phase, 'outcome', outcome, 'token', '',
    'finished_at', wall_s())
  redis.call('EXPIRE', key, KEEP_S)
  tell(id, '{"phase":"' .. phase .. '"}')
  redis.call('SREM', 'falq:unknown', id)
  count('ended:' .. phase)
  if created > 0 then count('seconds:total', math.max(0, wall / 1000000 - created)) end
  free_and_wake(id, q)
end

-- A job whose holder is gone goes on elsewhere; its lease stays with it.
local function hand_over(id, q, phase, lease_us)
  local key = job_key(id)
  local token = redis.call('HGET', key, 'token')
  redis.call('HSET', key, 'token', '', 'worker', '')
  if phase == 'queued' then
    free(id, q)
    wait_again(id, q)
  else
    if phase == 'submitting' and token and token ~= '' then
      redis.call('HSET', key, 'late_token', token)
    end
    lease(id, q, now + lease_us)
    redis.call('LREM', ADOPT, 0, id)
    redis.call('RPUSH', ADOPT, id)
  end
  wake(q)
end

-- Limits of a scope change; what was spent is carried over in permits, not in seconds.
local function set_limits(scope, concurrent, interval, emission, burst, config_id)
  local key = scope_key(scope)
  local s = redis.call('HMGET', key, 'emission_us', 'tat', 'config_id')
  if s[3] == config_id then return false end
  local before, tat = tonumber(s[1]) or 0, tonumber(s[2]) or 0
  local after = tonumber(emission)
  if before > 0 and after > 0 and tat > now then
    redis.call('HSET', key, 'tat', whole(now + math.ceil((tat - now) * after / before)))
  end
  redis.call('HSET', key, 'max_concurrent', concurrent, 'interval_us', interval,
    'emission_us', emission, 'burst', burst, 'config_id', config_id)
  if scope == '@' then
    for _, q in ipairs(redis.call('ZRANGE', PARKED, 0, -1)) do unpark(q) end
  else
    unpark(scope)
  end
  redis.call('HDEL', CLOCK, 'timer', 'timer_worker')
  return true
end
