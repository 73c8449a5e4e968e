-- A job's lease, its places, its end. The record is falq:job:<id>; RQ's keys are a view.

local function tell(id, event)
  call('XADD', 'falq:events:' .. id, 'MAXLEN', '~', 500, '*', 'e', event)
  call('EXPIRE', 'falq:events:' .. id, KEEP_S)
end

local function lease(id, q, until_us)
  call('ZADD', LEASES, whole(until_us), id)
  call('SADD', HELD .. q, id)
end

local function free(id, q)
  call('ZREM', LEASES, id)
  call('SREM', HELD .. q, id)
  if call('ZSCORE', PARKED, q) == 'inf' then unpark(q) end
end

-- Free a slot that may have held back any queue of the account.
local function free_and_wake(id, q)
  free(id, q)
  if call('ZCARD', READY) > 0 or call('ZCARD', PARKED) > 0 then wake(nil) end
end

-- Put a job back where it waits: its own score keeps its place.
local function wait_again(id, q)
  local score = call('HGET', JOB .. id, 'score') or 0
  call('HSET', JOB .. id, 'phase', 'queued', 'token', '', 'worker', '')
  -- A job that a tool deleted meanwhile is not brought back: it ends when its turn comes.
  if call('EXISTS', RQ_JOB .. id) == 1 then call('HSET', RQ_JOB .. id, 'status', 'queued') end
  call('ZADD', WAITING .. q, score, id)
  call('LREM', RQ_QUEUE .. q, 0, id)
  call('LPUSH', RQ_QUEUE .. q, id)
  enlist(q)
end

-- A job whose end no worker shows to RQ's tools.
local function show_end(id, q, status, registry)
  if call('EXISTS', RQ_JOB .. id) == 0 then return end
  call('HSET', RQ_JOB .. id, 'status', status)
  call('EXPIRE', RQ_JOB .. id, 86400)
  call('ZADD', 'rq:' .. registry .. ':' .. q, whole(wall / 1000000 + 86400), id)
end

-- Upper ends of the buckets of a histogram of durations, seconds; metrics.py has the same.
local BOUNDS = { 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800 }

local function count_end(q, phase)
  count('ended:' .. phase)
  if ACCOUNT ~= '' then call('HINCRBY', SCOPE .. q, 'ended:' .. phase, 1) end
end

local function count_seconds(seconds)
  call('HINCRBYFLOAT', 'falq:counters', 'seconds:total', seconds)
  for _, bound in ipairs(BOUNDS) do
    if seconds <= bound then return count('seconds:' .. bound) end
  end
end

-- End a job: nothing of it is held any more.
local function finish(id, q, phase, outcome, token)
  call('HSET', JOB .. id, 'phase', phase, 'outcome', outcome, 'token', '',
    'left_token', token, 'finished_at', wall_s())
  call('EXPIRE', JOB .. id, KEEP_S)
  tell(id, '{"phase":"' .. phase .. '"}')
  count_end(q, phase)
  local j = call('HMGET', JOB .. id, 'created_at', 'recovered', 'billable_units')
  local created = tonumber(j[1]) or 0
  if created > 0 then count_seconds(math.max(0, wall / 1000000 - created)) end
  if j[2] == '1' then count('recovered') end
  if phase == 'done' and tonumber(j[3]) then
    call('HINCRBYFLOAT', 'falq:counters', 'units:total', j[3])
  end
  free_and_wake(id, q)
end

-- The outcome of the POST is unknown: the slot is kept, because it may run at fal.
local function doubt(id, q, outcome, hold_us)
  call('HSET', JOB .. id, 'phase', 'unknown', 'outcome', outcome, 'token', '',
    'finished_at', wall_s())
  call('SADD', 'falq:unknown', id)
  lease(id, q, now + hold_us)
  tell(id, '{"phase":"unknown"}')
  count_end(q, 'unknown')
end

-- A job that fal may know of waits for its next holder; it keeps its slot.
local function offer(id, q, lease_us)
  call('HSET', JOB .. id, 'token', '', 'worker', '')
  lease(id, q, now + lease_us)
  call('LREM', ADOPT, 0, id)
  call('RPUSH', ADOPT, id)
  call('HSET', ROOT, 'offers', '1')
  wake(q)
end

-- Only the worker that may have sent the POST can tell what became of it later.
local function remember_sender(id, phase, token)
  if phase == 'submitting' and token ~= '' then
    call('HSETNX', JOB .. id, 'late_token', token)
  end
end

local function hand_over(id, q, phase, token, lease_us)
  if phase == 'queued' then
    free(id, q)
    wait_again(id, q)
    wake(nil)
  else
    remember_sender(id, phase, token)
    offer(id, q, lease_us)
  end
end
