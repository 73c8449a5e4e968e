#!lua
-- Give a worker jobs that may start now: pick the queue, check both scopes, pop, lease.
-- A job leaves its queue only if it may start; a refusal changes nothing but the clock and
-- which queues are parked.
-- ARGV     account, worker, limit, lease_us, pattern ('' serves all), register ('1': will sleep)
-- Touches  falq:{a}:* but patterns of others; falq:job:<id>; rq:job:<id>, rq:queue:<queue>
-- Reply    {wait_us (-1: only a wake-up can change it), reason '<scope>:<limit>',
--           waiting (1: jobs wait), then job_id, queue, token, adopted (1|0) for each job}
keep_time()
local worker, limit, lease_us = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local pattern, register = ARGV[5], ARGV[6] == '1'
local granted, reasons = {}, {}

redis.call('ZREM', WAITERS, worker)
if pattern ~= '' then redis.call('HSET', PATTERNS, worker, pattern) end

local function serves(q) return pattern == '' or string.find(q, pattern) ~= nil end

local function grant(id, q, adopted)
  local token = redis.call('HINCRBY', CLOCK, 'token', 1)
  redis.call('HSET', job_key(id), 'token', token, 'worker', worker)
  lease(id, q, now + lease_us)
  granted[#granted + 1] = { id, q, token, adopted }
end

local function adopt()
  while #granted < limit do
    local id = redis.call('LPOP', ADOPT)
    if not id then return end
    local j = redis.call('HMGET', job_key(id), 'phase', 'queue', 'token')
    local active = j[1] == 'submitting' or j[1] == 'submitted' or j[1] == 'running'
      or j[1] == 'downloading'
    if active and (j[3] == '' or not j[3]) then grant(id, j[2], 1) end
  end
end

-- A job that a stock tool took, cancelled or deleted costs no permit.
local function vanish(id, q, status)
  redis.call('ZREM', waiting_key(q), id)
  redis.call('LREM', list_key(q), 0, id)
  if status ~= 'started' and redis.call('HGET', job_key(id), 'phase') == 'queued' then
    local error = '{"type":"JobCancelledError","message":"cancelled by another tool before ' ..
      'anything was sent","hint":"nothing is billed","job_id":"' .. id ..
      '","retryable":false,"may_be_billed":false}'
    redis.call('HSET', job_key(id), 'error', error)
    finish(id, q, 'cancelled', '{"status":"FAILED","error":' .. error .. '}')
  end
end

local function head(q)
  while true do
    local id = redis.call('ZRANGE', waiting_key(q), 0, 0)[1]
    if not id then return nil end
    local phase = redis.call('HGET', job_key(id), 'phase')
    local status = redis.call('HGET', rq_key(id), 'status')
    if phase == 'queued' and status == 'queued' then return id end
    vanish(id, q, status)
  end
end

local function park(q, wait, why)
  redis.call('ZREM', READY, q)
  redis.call('ZADD', PARKED, wait >= INF and '+inf' or whole(now + wait), q)
  local key = P .. 'told:' .. q
  redis.call('XADD', key, 'MAXLEN', '~', 100, '*', 'limit', why,
    'wait_us', wait >= INF and '-1' or whole(wait))
  redis.call('EXPIRE', key, KEEP_S)
  count('waits:' .. why)
end

-- The queue with the lowest virtual time whose own limits allow a start.
local function candidate()
  local skipped = 0
  while true do
    local q = redis.call('ZRANGE', READY, skipped, skipped)[1]
    if not q then return nil end
    if not serves(q) then
      skipped = skipped + 1
    else
      local id = head(q)
      if not id then
        delist(q)
        redis.call('ZREM', READY, q)
      else
        local wait, why, state = look(q)
        if wait == 0 then return q, id, state end
        park(q, wait, why)
        reasons[q] = why
      end
    end
  end
end

local function start(q, id, state, account)
  spend('@', account)
  spend(q, state)
  local v = math.max(state.vt, virtual)
  virtual = v
  redis.call('HSET', CLOCK, 'virtual', string.format('%.6f', v))
  redis.call('HSET', scope_key(q), 'vt', string.format('%.6f', v + 1))
  redis.call('ZREM', waiting_key(q), id)
  redis.call('LREM', list_key(q), 1, id)
  redis.call('ZADD', READY, 'XX', string.format('%.6f', v + 1), q)
  delist(q)
  redis.call('HSET', job_key(id), 'started_at', wall_s())
  grant(id, q, 0)
  count('admitted')
end

local function due()
  for _, q in ipairs(redis.call('ZRANGEBYSCORE', PARKED, '-inf', whole(now), 'LIMIT', 0, 256)) do
    unpark(q)
  end
end

-- The earliest parked queue that this worker serves.
local function earliest()
  local page = 0
  while true do
    local found = redis.call('ZRANGE', PARKED, page, page + 31, 'WITHSCORES')
    if #found == 0 then return nil end
    for i = 1, #found, 2 do
      if serves(found[i]) then return found[i], found[i + 1] end
    end
    page = page + 32
  end
end

local function refusal(blocked_by_account)
  local account_wait, account_why = look('@')
  if blocked_by_account then return account_wait, '@:' .. account_why end
  local q, at = earliest()
  if not q then return INF, '' end
  local why = reasons[q] or select(2, look(q))
  local wait = at == 'inf' and INF or tonumber(at) - now
  if wait < INF and account_wait > wait then return account_wait, '@:' .. account_why end
  return wait, q .. ':' .. why
end

local function forget_timer()
  redis.call('HDEL', CLOCK, 'timer', 'timer_worker')
end

adopt()
due()
local blocked = false
while #granted < limit do
  local q, id, state = candidate()
  if not q then break end
  local account_wait, _, account = look('@')
  if account_wait > 0 then
    blocked = true
    break
  end
  start(q, id, state, account)
end

local work = redis.call('ZCARD', READY) + redis.call('ZCARD', PARKED)
local reply = { 0, '', work > 0 and 1 or 0 }
if #granted > 0 then
  if clock[5] == worker then forget_timer() end
  -- The worker may be full by now: somebody else looks at what is left.
  if #granted == limit and work > 0 then wake(nil) end
  for _, g in ipairs(granted) do
    for i = 1, 4 do reply[#reply + 1] = g[i] end
  end
  return reply
end

local wait, why = refusal(blocked)
reply[2] = why
if register then redis.call('ZADD', WAITERS, whole(now), worker) end
if wait >= INF then
  if clock[5] == worker then forget_timer() end
  reply[1] = -1
  return reply
end
reply[1] = wait
if register and pattern == '' then
  -- Only one sleeper holds the timer; the others wait for a wake-up.
  local timer = tonumber(clock[4])
  if timer and timer > now and timer <= now + wait and clock[5] ~= worker then
    reply[1] = -1
  else
    redis.call('HSET', CLOCK, 'timer', whole(now + wait), 'timer_worker', worker)
  end
end
return reply
