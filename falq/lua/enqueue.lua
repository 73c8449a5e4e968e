#!lua
-- Enqueue a job, or attach its caller to an equal one; all or nothing.
-- ARGV     account ('' goes through the intake), job_id, queue, lane, idempotency key,
--          fingerprint, fresh ('1'), caller ('1': somebody waits), arguments_hash,
--          max_concurrent, interval_us, emission_us, burst, config_id, account limit ('' none),
--          number n of record fields, n x (field, value), then RQ's (field, value)
-- Touches  clock, queues, scope:*, waiting:<queue>, ready, parked, waiters; falq:job:<id>,
--          falq:idem:*, falq:same:*, falq:caller:<id>, falq:jobs, falq:intake, falq:counters;
--          rq:queues, rq:queue:<queue>, rq:job:<id>; channel falq:wake
-- Reply    {'NEW' | 'SAME' | 'KEY' | 'ATTACHED', job_id, phase, arguments_hash}
keep_time()
local id, q, lane = ARGV[2], ARGV[3], tonumber(ARGV[4])
local idem = ARGV[5] ~= '' and 'falq:idem:{' .. ACCOUNT .. '}:' .. ARGV[5]
local same = 'falq:same:{' .. ACCOUNT .. '}:' .. ARGV[6]
local fresh, attended = ARGV[7] == '1', ARGV[8] == '1'
local DAY_S = 86400

local function attend(job)
  if attended then redis.call('SET', 'falq:caller:' .. job, '1', 'EX', 10) end
end

local function answer(how, job)
  attend(job)
  local j = redis.call('HMGET', job_key(job), 'phase', 'arguments_hash', 'model_id')
  if how ~= 'NEW' and how ~= 'SAME' then count('deduplicated') end
  return { how, job, j[1], j[2] or '' }
end

-- In flight and nobody waits for it, or done and nobody got it.
local function attachable(job)
  if redis.call('EXISTS', 'falq:caller:' .. job) == 1 then return false end
  local j = redis.call('HMGET', job_key(job), 'phase', 'delivered', 'cancel_requested')
  if not j[1] or j[1] == 'failed' or j[1] == 'cancelled' then return false end
  return j[2] ~= '1' and j[3] ~= '1'
end

local function equal_call()
  local oldest = wall / 1000000 - DAY_S
  redis.call('ZREMRANGEBYSCORE', same, '-inf', string.format('%.0f', oldest))
  for _, job in ipairs(redis.call('ZRANGE', same, 0, -1)) do
    if attachable(job) then return job end
  end
end

if redis.call('EXISTS', job_key(id)) == 1 then return answer('SAME', id) end
if idem then
  local known = redis.call('GET', idem)
  if known and redis.call('EXISTS', job_key(known)) == 1 then return answer('KEY', known) end
elseif not fresh then
  local job = equal_call()
  if job then return answer('ATTACHED', job) end
end

local fields = tonumber(ARGV[16])
local first_rq = 17 + 2 * fields
for i = 17, first_rq - 1, 2 do redis.call('HSET', job_key(id), ARGV[i], ARGV[i + 1]) end
for i = first_rq, #ARGV, 2 do redis.call('HSET', rq_key(id), ARGV[i], ARGV[i + 1]) end
redis.call('SADD', 'rq:queues', list_key(q))
redis.call('RPUSH', list_key(q), id)
redis.call('ZADD', 'falq:jobs', string.format('%.3f', wall / 1000000), id)
if idem then redis.call('SET', idem, id, 'EX', DAY_S) end
redis.call('ZADD', same, string.format('%.3f', wall / 1000000), id)
redis.call('EXPIRE', same, DAY_S)
count('enqueued')
tell(id, '{"phase":"queued"}')

if ACCOUNT == '' then
  redis.call('HSET', job_key(id), 'limits', table.concat({ ARGV[10], ARGV[11], ARGV[12], ARGV[13],
    ARGV[14] }, ' '), 'lane', lane)
  redis.call('RPUSH', 'falq:intake', id)
  redis.call('PUBLISH', 'falq:wake', 'intake')
  return answer('NEW', id)
end
local changed = set_limits(q, ARGV[10], ARGV[11], ARGV[12], ARGV[13], ARGV[14])
if ARGV[15] ~= '' then set_limits('@', ARGV[15], 0, 0, 1, 'account:' .. ARGV[15]) end
redis.call('SADD', QUEUES, q)
local score = lane * 1e13 + redis.call('HINCRBY', CLOCK, 'seq', 1)
redis.call('HSET', job_key(id), 'score', whole(score))
redis.call('ZADD', waiting_key(q), whole(score), id)
enlist(q)
wake(q)
if changed then wake(nil) end
return answer('NEW', id)
