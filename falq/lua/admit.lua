#!lua
-- Give a worker jobs that may start now: pick the queue, check both scopes, pop, lease.
-- A job leaves its queue only if it may start; a refusal changes nothing but the clock,
-- which queues are parked, and who sleeps.
-- Needs    account queues scopes spending
-- ARGV     account, worker, limit (0: it takes no more), lease_us, pattern ('' serves all),
--          register ('1': it sleeps after a refusal)
-- Touches  falq:{a}:*; falq:job:<id>, falq:counters; rq:job:<id>, rq:queue:<queue>; channel
--          falq:{a}:wake:<worker>
-- Reply    one string, because clients read one faster than many; its parts end with a zero
--          byte: wait_us (-1: only a wake-up can change it), reason '<scope>:<limit>',
--          waiting (1: jobs wait), number n of jobs that a tool dropped, n x (job_id, queue),
--          then job_id, queue, token, adopted (1|0) for each job given
local worker, limit, lease_us = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local pattern, register = ARGV[5], ARGV[6] == '1'
local sleeper = worker .. ' ' .. pattern
local gone, grants, granted, due = {}, {}, 0, A.due
-- Parking is paid for once per queue and start, but one call must not keep Redis for long.
local MAX_PARKED = 256

local function serves(q) return pattern == '' or string.find(q, pattern) ~= nil end

local function grant(id, q, adopted)
  A.token = A.token + 1
  if adopted == '1' then
    call('HSET', 'falq:job:' .. id, 'token', A.token, 'worker', worker)
  else
    call('HSET', 'falq:job:' .. id, 'token', A.token, 'worker', worker,
      'started_at', A.wall / 1000000)
  end
  call('ZADD', K.LEASES, A.now + lease_us, id)
  call('SADD', K.HELD .. q, id)
  granted = granted + 1
  grants[granted] = id .. '\0' .. q .. '\0' .. A.token .. '\0' .. adopted
end

local function adopt()
  local function adopt_one(id)
    local j = call('HMGET', 'falq:job:' .. id, 'phase', 'queue', 'token')
    local active = j[1] == 'submitting' or j[1] == 'submitted' or j[1] == 'running'
      or j[1] == 'downloading'
    if not active or (j[3] and j[3] ~= '') then
      call('LREM', K.ADOPT, 0, id)
    elseif serves(j[2]) then
      call('LREM', K.ADOPT, 0, id)
      grant(id, j[2], '1')
    end
  end
  for _, id in ipairs(call('LRANGE', K.ADOPT, 0, pattern == '' and 2 * limit or -1)) do
    if granted == limit then return end
    adopt_one(id)
  end
  if call('LLEN', K.ADOPT) == 0 then
    A.offers = false
    call('HDEL', K.ROOT, 'offers')
  end
end

-- The first job of a queue that no stock tool has cancelled or deleted, and how many are
-- known beside it. Such jobs cost no permit; vanish.lua ends them. A job that a stock worker
-- popped may start here all the same: nobody holds its record until acquire.lua gives it out,
-- and that worker may have died in between.
local function head(q)
  local passed = 0
  while true do
    local ids = call('ZRANGE', K.WAITING .. q, passed, passed + 1)
    local id = ids[1]
    if not id then return nil, passed end
    local status = call('HGET', 'rq:job:' .. id, 'status')
    if status and status ~= 'canceled' and status ~= 'stopped'
      and call('HGET', 'falq:job:' .. id, 'phase') == 'queued' then
      return id, passed + (ids[2] and 1 or 0)
    end
    gone[#gone + 1] = id .. '\0' .. q
    passed = passed + 1
  end
end

-- Look at a ready queue: its first job if its own limits allow a start; else it is parked.
local function look(q)
  local s = read_scope(q)
  local wait, why = judge(s)
  if wait <= 0 then
    local id, others = head(q)
    if id then return id, s, others end
    if others == 0 then return delist(q) end
    -- Only dropped jobs are left, which are ended soon.
    wait, why = 2000000, 'elsewhere'
  end
  call('ZREM', K.READY, q)
  call('ZADD', K.PARKED, wait >= K.INF and '+inf' or A.now + wait, q)
  if wait < K.INF then A.due = math.min(A.due, A.now + wait) end
  local told = K.P .. 'told:' .. q
  call('XADD', told, 'MAXLEN', '~', 100, '*', 'limit', why,
    'wait_us', wait >= K.INF and -1 or wait)
  call('EXPIRE', told, K.KEEP_S)
  count('waits:' .. why)
  call('HINCRBY', K.SCOPE .. q, 'waits:' .. why, 1)
end

-- The queue with the lowest virtual time that may start a job by its own limits.
local function candidate()
  local skipped, parked = 0, 0
  while parked < MAX_PARKED do
    local q = call('ZRANGE', K.READY, skipped, skipped)[1]
    if not q then return nil end
    if serves(q) then
      local id, s, others = look(q)
      if id then return q, id, s, others end
      parked = parked + 1
    else
      skipped = skipped + 1
    end
  end
  return nil, true
end

-- Say how long nothing more can start and why, and let the worker sleep.
local function refuse(candidate_waits, more)
  -- The parked queue of this worker that may start earliest, and when.
  local function earliest()
    local from = 0
    while true do
      local found = call('ZRANGE', K.PARKED, from, from + 31, 'WITHSCORES')
      if #found == 0 then return nil end
      for i = 1, #found, 2 do
        if serves(found[i]) then return found[i], found[i + 1] end
      end
      from = from + 32
    end
  end

  local function refusal()
    local account_wait, account_why = judge(A)
    if candidate_waits then return account_wait, '@:' .. account_why, '1' end
    local q, at = earliest()
    if not q then return K.INF, '', '0' end
    local why = select(2, judge(read_scope(q)))
    if at == 'inf' then return K.INF, q .. ':' .. why, '1' end
    local wait = tonumber(at) - A.now
    if account_wait > wait then return account_wait, '@:' .. account_why, '1' end
    return wait, q .. ':' .. (why ~= '' and why or 'elsewhere'), '1'
  end

  -- Only one sleeper that serves all queues holds the timer; the others sleep until woken. A
  -- sleeper that does not listen any more is dead.
  local function somebody_looks_by(at)
    local timer, leader = tonumber(root[5]), root[6]
    return timer and timer > A.now and timer <= at and leader ~= worker
      and call('PUBSUB', 'NUMSUB', K.P .. 'wake:' .. leader)[2] > 0
  end

  local function sleep(wait)
    call('ZADD', K.WAITERS, A.now, sleeper)
    call('HSET', K.ROOT, 'asleep', '1')
    if pattern ~= '' then return wait end
    if wait >= K.INF then
      if root[6] == worker then call('HDEL', K.ROOT, 'timer', 'timer_worker') end
    elseif somebody_looks_by(A.now + wait) then
      return K.INF
    else
      call('HSET', K.ROOT, 'timer', A.now + wait, 'timer_worker', worker)
    end
    return wait
  end

  local wait, why, waiting = refusal()
  if more or wait < 0 then wait, why, waiting = 0, '', '1' end
  if register and wait > 0 then wait = sleep(wait) end
  return wait >= K.INF and '-1' or string.format('%.0f', wait), why, waiting
end

if A.asleep then call('ZREM', K.WAITERS, sleeper) end
if A.offers and limit > 0 then adopt() end
if A.due <= A.now and limit > 0 then
  local found = call('ZRANGEBYSCORE', K.PARKED, '-inf', A.now, 'LIMIT', 0, MAX_PARKED)
  for _, q in ipairs(found) do unpark(q) end
  local first = call('ZRANGE', K.PARKED, 0, 0, 'WITHSCORES')[2]
  A.due = first and first ~= 'inf' and tonumber(first) or K.INF
end
local candidate_waits, more, work_left = false, false, false
while granted < limit do
  local q, id, s, others = candidate()
  if not q then
    more = id == true
    break
  end
  if judge(A) > 0 then
    candidate_waits = true
    break
  end
  spend(s)
  call('ZREM', K.WAITING .. q, id)
  call('LREM', 'rq:queue:' .. q, 1, id)
  if others > 0 then
    call('ZADD', K.READY, s.vt, q)
    work_left = true
  else
    call('ZREM', K.READY, q)
  end
  grant(id, q, '0')
end
if granted > 0 then save_account() else keep_time() end
if A.due ~= due then call('HSET', K.ROOT, 'due', A.due < K.INF and A.due or '') end

local wait, why, waiting = limit == 0 and '-1' or '0', '', '0'
if granted < limit then
  wait, why, waiting = refuse(candidate_waits, more)
else
  -- The worker is full, or ends: somebody else looks at what is left.
  if root[6] == worker then call('HDEL', K.ROOT, 'timer', 'timer_worker') end
  if work_left or call('ZCARD', K.READY) > 0 or call('ZCARD', K.PARKED) > 0
    or (A.offers and call('LLEN', K.ADOPT) > 0) then
    wake(nil)
    waiting = '1'
  end
end
-- Texts, as far as can be: Lua takes long to print a number.
local dropped = gone[1] and #gone or '0'
local reply = table.concat({ wait, why, waiting, dropped, unpack(gone) }, '\0')
return granted > 0 and reply .. '\0' .. table.concat(grants, '\0') or reply
