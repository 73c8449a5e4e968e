#!lua flags=allow-oom
-- Find jobs whose holder has let the lease run out, and see that they go on.
-- Needs    account queues jobs
-- ARGV     account, lease_us, hold_us (slot of an unknown job), max_deaths
-- Touches  falq:{a}:*; falq:job:<id>, falq:events:<id>, falq:unknown, falq:counters;
--          rq:job:<id>, rq:queue:<queue>, rq:failed:<queue>; channel falq:{a}:wake:<worker>
-- Reply    job_id, phase it was in, for each
local lease_us, hold_us, max_deaths = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local reaped = {}
local ENDED = { done = true, failed = true, cancelled = true, unknown = true }

local function poison(id, q, phase, request_id)
  local sent = request_id and request_id ~= ''
  local maybe = sent or phase ~= 'queued'
  local doubtful = phase == 'submitting' and not sent
  local error = cjson.encode({
    type = doubtful and 'UnknownOutcomeError' or 'UnreachableError',
    message = 'its worker died ' .. ARGV[4] .. ' times without getting on',
    hint = sent and 'falq result JOB fetches it by its request_id, without a new call'
      or maybe and 'it is not sent again; falq resolve JOB decides'
      or 'look at the worker\'s log; then repeat the call',
    model_id = call('HGET', 'falq:job:' .. id, 'model_id') or '',
    request_id = sent and request_id or cjson.null,
    job_id = id,
    retryable = not maybe,
    may_be_billed = maybe and true or false,
  })
  local outcome = '{"status":"FAILED","error":' .. error .. '}'
  call('HSET', 'falq:job:' .. id, 'error', error)
  if doubtful then
    doubt(id, q, outcome, hold_us)
  else
    finish(id, q, 'failed', outcome, '')
  end
  show_end(id, q, 'failed', 'failed')
end

local function bury(id, q, phase, token, request_id)
  count('deaths')
  if call('HINCRBY', 'falq:job:' .. id, 'deaths', 1) >= max_deaths then
    poison(id, q, phase, request_id)
  else
    hand_over(id, q, phase, token, lease_us)
  end
end

-- The record was deleted by hand.
local function forget(id)
  for _, q in ipairs(call('SMEMBERS', K.P .. 'queues')) do free_and_wake(id, q) end
end

keep_time()
local expired = call('ZRANGEBYSCORE', K.LEASES, '-inf', A.now, 'LIMIT', 0, 64)
for _, id in ipairs(expired) do
  local j = call('HMGET', 'falq:job:' .. id, 'phase', 'queue', 'request_id', 'token')
  local phase, q, held = j[1], j[2], j[4] and j[4] ~= ''
  if not phase then
    forget(id)
  elseif ENDED[phase] then
    free_and_wake(id, q)
  elseif held or phase == 'queued' then
    bury(id, q, phase, j[4], j[3])
  else
    -- Nobody has come to adopt it: that is no death.
    offer(id, q, lease_us)
  end
  reaped[#reaped + 1] = id
  reaped[#reaped + 1] = phase or 'gone'
end
return reaped
