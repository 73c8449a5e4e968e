-- A job's lease, its places, its end. The record is falq:job:<id>; RQ's keys are a view.

local function tell(id, event)
  call('XADD', 'falq:events:' .. id, 'MAXLEN', '~', 500, '*', 'e', event)
  call('EXPIRE', 'falq:events:' .. id, K.KEEP_S)
end

local function lease(id, q, until_us)
  call('ZADD', K.LEASES, until_us, id)
  call('SADD', K.HELD .. q, id)
end

local function free(id, q)
  call('ZREM', K.LEASES, id)
  call('SREM', K.HELD .. q, id)
  if call('ZSCORE', K.PARKED, q) == 'inf' then unpark(q) end
end

-- Free a slot that may have held back any queue of the account.
local function free_and_wake(id, q)
  free(id, q)
  if call('ZCARD', K.READY) > 0 or call('ZCARD', K.PARKED) > 0 then wake(nil) end
end

-- Put a job back where it waits: its own score keeps its place.
local function wait_again(id, q)
  local score = call('HGET', 'falq:job:' .. id, 'score') or 0
  call('HSET', 'falq:job:' .. id, 'phase', 'queued', 'token', '', 'worker', '')
  -- A job that a tool deleted meanwhile is not brought back: it ends when its turn comes.
  if call('EXISTS', 'rq:job:' .. id) == 1 then call('HSET', 'rq:job:' .. id, 'status', 'queued') end
  call('ZADD', K.WAITING .. q, score, id)
  call('LREM', 'rq:queue:' .. q, 0, id)
  call('LPUSH', 'rq:queue:' .. q, id)
  enlist(q)
end

-- A job whose end no worker shows to RQ's tools.
local function show_end(id, q, status, registry)
  if call('EXISTS', 'rq:job:' .. id) == 0 then return end
  call('HSET', 'rq:job:' .. id, 'status', status)
  call('EXPIRE', 'rq:job:' .. id, 86400)
  call('ZADD', 'rq:' .. registry .. ':' .. q, A.wall / 1000000 + 86400, id)
end

-- Upper ends of the buckets of a histogram of durations, seconds; metrics.py has the same.
local BOUNDS = { 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800 }

local function count_end(q, phase)
  count('ended:' .. phase)
  if K.ACCOUNT ~= '' then call('HINCRBY', K.SCOPE .. q, 'ended:' .. phase, 1) end
end

local function count_seconds(seconds)
  call('HINCRBYFLOAT', 'falq:counters', 'seconds:total', seconds)
  for _, bound in ipairs(BOUNDS) do
    if seconds <= bound then return count('seconds:' .. bound) end
  end
end

-- End a job: nothing of it is held any more.
local function finish(id, q, phase, outcome, token)
  call('HSET', 'falq:job:' .. id, 'phase', phase, 'outcome', outcome, 'token', '',
    'left_token', token, 'finished_at', A.wall / 1000000)
  call('EXPIRE', 'falq:job:' .. id, K.KEEP_S)
  tell(id, '{"phase":"' .. phase .. '"}')
  count_end(q, phase)
  local j = call('HMGET', 'falq:job:' .. id, 'created_at', 'recovered', 'billable_units')
  local created = tonumber(j[1]) or 0
  if created > 0 then count_seconds(math.max(0, A.wall / 1000000 - created)) end
  if j[2] == '1' then count('recovered') end
  if phase == 'done' and tonumber(j[3]) then
    call('HINCRBYFLOAT', 'falq:counters', 'units:total', j[3])
  end
  free_and_wake(id, q)
end

-- The outcome of the POST is unknown: the slot is kept, because it may run at fal.
local function doubt(id, q, outcome, hold_us)
  call('HSET', 'falq:job:' .. id, 'phase', 'unknown', 'outcome', outcome, 'token', '',
    'finished_at', A.wall / 1000000)
  call('SADD', 'falq:unknown', id)
  lease(id, q, A.now + hold_us)
  tell(id, '{"phase":"unknown"}')
  count_end(q, 'unknown')
end

-- A job that fal may know of waits for its next holder; it keeps its slot.
local function offer(id, q, lease_us)
  call('HSET', 'falq:job:' .. id, 'token', '', 'worker', '')
  lease(id, q, A.now + lease_us)
  call('LREM', K.ADOPT, 0, id)
  call('RPUSH', K.ADOPT, id)
  call('HSET', K.ROOT, 'offers', '1')
  wake(q)
end

-- Only the worker that may have sent the POST can tell what became of it later.
local function remember_sender(id, phase, token)
  if phase == 'submitting' and token ~= '' then
    call('HSETNX', 'falq:job:' .. id, 'late_token', token)
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
