#!lua
-- Give a worker jobs that may start now: pick the queue, check both scopes, pop, lease.
-- A job leaves its queue only if it may start; a refusal changes nothing but the clock,
-- which queues are parked, and who sleeps.
-- Needs    account queues scopes
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
local account = read_scope('@')
local token = tonumber(root[4]) or 0
local gone, grants, granted = {}, {}, 0
local work_left = false
-- A queue of which only dropped jobs are left is looked at again, us: they are ended soon.
local ELSEWHERE = 2000000
-- Parking is paid for once per queue and start, but one call must not keep Redis for long.
local MAX_PARKED = 256

local function serves(q) return pattern == '' or string.find(q, pattern) ~= nil end

local function grant(id, q, adopted)
  token = token + 1
  if adopted == 1 then
    call('HSET', JOB .. id, 'token', whole(token), 'worker', worker)
  else
    call('HSET', JOB .. id, 'token', whole(token), 'worker', worker, 'started_at', wall_s())
  end
  call('ZADD', LEASES, whole(now + lease_us), id)
  call('SADD', HELD .. q, id)
  granted = granted + 1
  grants[granted] = table.concat({ id, q, whole(token), adopted }, '\0')
end

local function adopt()
  local function adopt_one(id)
    local j = call('HMGET', JOB .. id, 'phase', 'queue', 'token')
    local active = j[1] == 'submitting' or j[1] == 'submitted' or j[1] == 'running'
      or j[1] == 'downloading'
    if not active or (j[3] and j[3] ~= '') then
      call('LREM', ADOPT, 0, id)
    elseif serves(j[2]) then
      call('LREM', ADOPT, 0, id)
      grant(id, j[2], 1)
    end
  end
  for _, id in ipairs(call('LRANGE', ADOPT, 0, pattern == '' and 2 * limit or -1)) do
    if granted == limit then return end
    adopt_one(id)
  end
  if call('LLEN', ADOPT) == 0 then
    offers = false
    call('HDEL', ROOT, 'offers')
  end
end

-- The first job of a queue that no stock tool has cancelled or deleted, and how many are
-- known beside it. Such jobs cost no permit; vanish.lua ends them. A job that a stock worker
-- popped may start here all the same: nobody holds its record until acquire.lua gives it out,
-- and that worker may have died in between.
local function head(q)
  local passed = 0
  while true do
    local ids = call('ZRANGE', WAITING .. q, passed, passed + 1)
    local id = ids[1]
    if not id then return nil, passed end
    local status = call('HGET', RQ_JOB .. id, 'status')
    if status and status ~= 'canceled' and status ~= 'stopped'
      and call('HGET', JOB .. id, 'phase') == 'queued' then
      return id, passed + (ids[2] and 1 or 0)
    end
    gone[#gone + 1] = id .. '\0' .. q
    passed = passed + 1
  end
end

local function park(q, wait, why)
  call('ZREM', READY, q)
  call('ZADD', PARKED, wait >= INF and '+inf' or whole(now + wait), q)
  if wait < INF then due = math.min(due, now + wait) end
  local told = P .. 'told:' .. q
  call('XADD', told, 'MAXLEN', '~', 100, '*', 'limit', why,
    'wait_us', wait >= INF and '-1' or whole(wait))
  call('EXPIRE', told, KEEP_S)
  count('waits:' .. why)
  call('HINCRBY', SCOPE .. q, 'waits:' .. why, 1)
end

-- Look at a ready queue: its first job if its own limits allow a start; else it is parked.
local function look(q)
  local s = read_scope(q)
  local wait, why = judge(s)
  if wait > 0 then
    park(q, wait, why)
    return nil
  end
  local id, others = head(q)
  if id then return id, s, others end
  if others > 0 then park(q, ELSEWHERE, 'elsewhere') else delist(q) end
end

-- The queue with the lowest virtual time that may start a job by its own limits.
local function candidate()
  local skipped, parked = 0, 0
  while parked < MAX_PARKED do
    local q = call('ZRANGE', READY, skipped, skipped)[1]
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

local function start(q, id, s, others)
  spend_both(s, account)
  call('ZREM', WAITING .. q, id)
  call('LREM', RQ_QUEUE .. q, 1, id)
  if others > 0 then
    call('ZADD', READY, string.format('%.6f', s.vt), q)
    work_left = true
  else
    call('ZREM', READY, q)
  end
  grant(id, q, 0)
end

local function unpark_due()
  local found = call('ZRANGEBYSCORE', PARKED, '-inf', whole(now), 'LIMIT', 0, MAX_PARKED)
  for _, q in ipairs(found) do unpark(q) end
  local first = call('ZRANGE', PARKED, 0, 0, 'WITHSCORES')[2]
  due = first and first ~= 'inf' and tonumber(first) or INF
end

-- Say how long nothing more can start and why, and let the worker sleep.
local function refuse(candidate_waits, more)
  -- The parked queue of this worker that may start earliest, and when.
  local function earliest()
    local from = 0
    while true do
      local found = call('ZRANGE', PARKED, from, from + 31, 'WITHSCORES')
      if #found == 0 then return nil end
      for i = 1, #found, 2 do
        if serves(found[i]) then return found[i], found[i + 1] end
      end
      from = from + 32
    end
  end

  local function refusal()
    local account_wait, account_why = judge(account)
    if candidate_waits then return account_wait, '@:' .. account_why, 1 end
    local q, at = earliest()
    if not q then return INF, '', 0 end
    local why = select(2, judge(read_scope(q)))
    if at == 'inf' then return INF, q .. ':' .. why, 1 end
    local wait = tonumber(at) - now
    if account_wait > wait then return account_wait, '@:' .. account_why, 1 end
    return wait, q .. ':' .. (why ~= '' and why or 'elsewhere'), 1
  end

  -- Only one sleeper that serves all queues holds the timer; the others sleep until woken. A
  -- sleeper that does not listen any more is dead.
  local function somebody_looks_by(at)
    local timer, leader = tonumber(root[5]), root[6]
    return timer and timer > now and timer <= at and leader ~= worker
      and call('PUBSUB', 'NUMSUB', P .. 'wake:' .. leader)[2] > 0
  end

  local function sleep(wait)
    call('ZADD', WAITERS, whole(now), sleeper)
    call('HSET', ROOT, 'asleep', '1')
    if pattern ~= '' then return wait end
    if wait >= INF then
      if root[6] == worker then call('HDEL', ROOT, 'timer', 'timer_worker') end
    elseif somebody_looks_by(now + wait) then
      return INF
    else
      call('HSET', ROOT, 'timer', whole(now + wait), 'timer_worker', worker)
    end
    return wait
  end

  local wait, why, waiting = refusal()
  if more or wait < 0 then wait, why, waiting = 0, '', 1 end
  if register and wait > 0 then wait = sleep(wait) end
  return wait >= INF and -1 or wait, why, waiting
end

-- The worker is full, or ends: somebody else looks at what is left.
local function pass_on()
  if root[6] == worker then call('HDEL', ROOT, 'timer', 'timer_worker') end
  local left = work_left or call('ZCARD', READY) > 0 or call('ZCARD', PARKED) > 0
    or (offers and call('LLEN', ADOPT) > 0)
  if left then wake(nil) end
  return left and 1 or 0
end

if asleep then call('ZREM', WAITERS, sleeper) end
if offers and limit > 0 then adopt() end
if due <= now and limit > 0 then unpark_due() end
local candidate_waits, more = false, false
while granted < limit do
  local q, id, s, others = candidate()
  if not q then
    more = id == true
    break
  end
  if judge(account) > 0 then
    candidate_waits = true
    break
  end
  start(q, id, s, others)
end
save_account(account, token)

local wait, why, waiting = limit == 0 and -1 or 0, '', 0
if granted < limit then
  wait, why, waiting = refuse(candidate_waits, more)
else
  waiting = pass_on()
end
local head_of_reply = table.concat({ whole(wait), why, waiting, #gone }, '\0')
return table.concat({ head_of_reply, unpack(gone) }, '\0')
  .. (granted > 0 and '\0' .. table.concat(grants, '\0') or '')
