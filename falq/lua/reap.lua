#!lua flags=allow-oom
-- Find jobs whose holder has let the lease run out, and see that they go on.
-- ARGV     account, lease_us, hold_us (slot of an unknown job), max_deaths
-- Touches  clock, leases:*, waiting:*, ready, parked, adopt, waiters; falq:job:<id>,
--          falq:events:<id>, falq:unknown; rq:job:<id>, rq:queue:<queue>
-- Reply    job_id, phase it was in, for each
keep_time()
local lease_us, max_deaths = tonumber(ARGV[2]), tonumber(ARGV[4])
local reaped = {}

local function poison(id, q, phase, request_id)
  local sent = request_id and request_id ~= ''
  local maybe = sent or phase == 'submitting'
  local error = cjson.encode({
    type = phase == 'submitting' and 'UnknownOutcomeError' or 'UnreachableError',
    message = 'its worker died ' .. ARGV[4] .. ' times without getting on',
    hint = sent and 'falq result JOB fetches it by its request_id, without a new call'
      or maybe and 'it is not sent again; falq resolve JOB decides'
      or 'look at the worker\'s log; then repeat the call',
    model_id = redis.call('HGET', job_key(id), 'model_id'),
    request_id = sent and request_id or cjson.null,
    job_id = id,
    retryable = not maybe,
    may_be_billed = maybe and true or false,
  })
  local outcome = '{"status":"FAILED","error":' .. error .. '}'
  redis.call('HSET', job_key(id), 'error', error)
  if phase == 'submitting' and not sent then
    redis.call('HSET', job_key(id), 'phase', 'unknown', 'outcome', outcome, 'token', '',
      'finished_at', wall_s())
    redis.call('SADD', 'falq:unknown', id)
    lease(id, q, now + tonumber(ARGV[3]))
    tell(id, '{"phase":"unknown"}')
    count('ended:unknown')
  else
    finish(id, q, 'failed', outcome)
  end
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases_key('@'), '-inf', whole(now), 'LIMIT', 0, 64)) do
  local j = redis.call('HMGET', job_key(id), 'phase', 'queue', 'request_id')
  local phase, q = j[1], j[2]
  if not phase then
    redis.call('ZREM', leases_key('@'), id)
    for _, name in ipairs(redis.call('SMEMBERS', QUEUES)) do redis.call('ZREM', leases_key(name), id) end
  elseif phase == 'queued' or phase == 'submitting' or phase == 'submitted'
    or phase == 'running' or phase == 'downloading' then
    count('deaths')
    if redis.call('HINCRBY', job_key(id), 'deaths', 1) >= max_deaths then
      poison(id, q, phase, j[3])
    else
      hand_over(id, q, phase, lease_us)
    end
  else
    free_and_wake(id, q)
  end
  reaped[#reaped + 1] = id
  reaped[#reaped + 1] = phase or 'gone'
end
return reaped
