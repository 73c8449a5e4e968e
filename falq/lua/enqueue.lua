#!lua
-- Enqueue a job, or attach its caller to an equal one; all or nothing.
-- Needs    account queues scopes limiting jobs
-- ARGV     account ('' goes through the intake), job_id, queue, lane, idempotency key ('' none,
--          else <fal>:<key>), fingerprint, fresh ('1'), caller ('1': somebody waits, '2': and
--          listens on channel falq:caller:<job_id> for as long as it lives), arguments_hash,
--          max_concurrent, interval_us, emission_us, burst, config_id, account limit ('' none),
--          number n of record fields, n x (field, value), then RQ's (field, value)
-- Touches  falq:{a}:*; falq:job:<id>, falq:events:<id>, falq:idem:*, falq:same:*, falq:prints,
--          falq:caller:<id>, falq:jobs, falq:intake, falq:counters; rq:queues,
--          rq:queue:<queue>, rq:job:<id>; channels falq:wake, falq:{a}:wake:<worker>
-- Reply    {'NEW' | 'SAME' | 'KEY' | 'ATTACHED', job_id, phase, arguments_hash}
local id, q, lane = ARGV[2], ARGV[3], tonumber(ARGV[4])
local SAME, PRINTS = 'falq:same:', 'falq:prints'
-- Neither names the account: a caller may have none, and a key may be exchanged meanwhile.
local idem = ARGV[5] ~= '' and 'falq:idem:' .. ARGV[5]
local same = SAME .. ARGV[6]
local fresh, attended, hashed = ARGV[7] == '1', ARGV[8], ARGV[9]
local DAY_S, CALLER_S, LISTENS, MOST_EQUAL, FEW = 86400, 10, 'listens:', 1000, 2

local function answer(how, job)
  local j = call('HMGET', 'falq:job:' .. job, 'phase', 'arguments_hash')
  -- An idempotency key of another call is refused: its job is not this caller's.
  if attended ~= '0' and j[2] == hashed then
    local value = attended == '2' and LISTENS .. id or id
    call('SET', 'falq:caller:' .. job, value, 'EX', CALLER_S)
  end
  if how == 'KEY' or how == 'ATTACHED' then count('deduplicated') end
  return { how, job, j[1], j[2] or '' }
end

local function attended_by_another(job)
  local key = 'falq:caller:' .. job
  local caller = call('GET', key)
  -- A caller that repeats this call, because the reply was lost, finds the job that it has.
  if not caller or caller == id or caller == LISTENS .. id then return false end
  if string.sub(caller, 1, #LISTENS) ~= LISTENS then return true end
  -- Who listens is gone as soon as its connection is; others when they are silent. One that
  -- attached listens on the channel that it had before, until it listens on the job's.
  local own = 'falq:caller:' .. string.sub(caller, #LISTENS + 1)
  return call('PUBLISH', key, '') > 0 or call('PUBLISH', own, '') > 0
end

-- Ended without a result, given out, waited for its caller for a day, or about to be cancelled:
-- nobody attaches to it ever. A failed job with a result is paid for: only its files could not
-- be saved, which may pass. One that has not ended is never too old.
local function is_past(job)
  local j = call('HMGET', 'falq:job:' .. job, 'phase', 'delivered', 'cancel_requested', 'finished_at')
  if not j[1] or j[1] == 'cancelled' or j[2] == '1' or j[3] == '1' then return true end
  if j[1] == 'failed' and call('HSTRLEN', 'falq:job:' .. job, 'result') == 0 then return true end
  local ended = j[1] == 'failed' or j[1] == 'done'
  return ended and (tonumber(j[4]) or 0) < A.wall / 1000000 - DAY_S
end

-- A job without account is that of whoever takes it in.
local function is_of_account(job)
  local account = call('HGET', 'falq:job:' .. job, 'account')
  return account == K.ACCOUNT or account == '' or K.ACCOUNT == ''
end

-- The oldest equal job that is in flight while nobody waits for it, or that nobody got.
local function equal_call()
  for _, job in ipairs(call('ZRANGE', same, 0, MOST_EQUAL - 1)) do
    if is_past(job) then
      call('ZREM', same, job)
    elseif is_of_account(job) and not attended_by_another(job) then
      return job
    end
  end
end

local function tidy(print)
  for _, job in ipairs(call('ZRANGE', SAME .. print, 0, MOST_EQUAL - 1)) do
    if is_past(job) then call('ZREM', SAME .. print, job) end
  end
  call('ZADD', PRINTS, A.wall / 1000000, print)
  if call('EXISTS', SAME .. print) == 0 then call('ZREM', PRINTS, print) end
end

-- Drop what nobody attaches to any more of calls that were last made more than a day ago.
local function tidy_oldest()
  local oldest = call('ZRANGE', PRINTS, 0, FEW - 1, 'WITHSCORES')
  for i = 1, #oldest, 2 do
    if tonumber(oldest[i + 1]) < A.wall / 1000000 - DAY_S then tidy(oldest[i]) end
  end
end

local function write()
  local first_rq = 17 + 2 * tonumber(ARGV[16])
  call('HSET', 'falq:job:' .. id, unpack(ARGV, 17, first_rq - 1))
  call('HSET', 'rq:job:' .. id, unpack(ARGV, first_rq))
  call('SADD', 'rq:queues', 'rq:queue:' .. q)
  call('RPUSH', 'rq:queue:' .. q, id)
  local created = A.wall / 1000000
  call('ZADD', 'falq:jobs', created, id)
  -- Records live for KEEP_S after their end; a day more for the time before it.
  call('ZREMRANGEBYSCORE', 'falq:jobs', '-inf', A.wall / 1000000 - K.KEEP_S - DAY_S)
  if idem then call('SET', idem, id, 'EX', DAY_S) end
  call('ZADD', same, created, id)
  call('ZADD', PRINTS, created, ARGV[6])
  tidy_oldest()
  count('enqueued')
  tell(id, '{"phase":"queued"}')
end

local function leave_to_the_first_worker()
  call('HSET', 'falq:job:' .. id, 'lane', lane, 'limits',
    table.concat({ ARGV[10], ARGV[11], ARGV[12], ARGV[13], ARGV[14] }, ' '))
  call('RPUSH', 'falq:intake', id)
  call('PUBLISH', 'falq:wake', 'intake')
end

local function place()
  local changed = set_limits(q, ARGV[10], ARGV[11], ARGV[12], ARGV[13], ARGV[14])
  if ARGV[15] ~= '' then
    changed = set_limits('@', ARGV[15], 0, 0, 1, 'account:' .. ARGV[15]) or changed
  end
  call('SADD', K.P .. 'queues', q)
  local score = lane * 1e13 + call('HINCRBY', K.ROOT, 'seq', 1)
  call('HSET', 'falq:job:' .. id, 'score', score)
  call('ZADD', K.WAITING .. q, score, id)
  if enlist(q) then wake(q) end
  if changed then wake(nil) end
end

if call('EXISTS', 'falq:job:' .. id) == 1 then return answer('SAME', id) end
if idem then
  local known = call('GET', idem)
  if known and call('EXISTS', 'falq:job:' .. known) == 1 then return answer('KEY', known) end
elseif not fresh then
  local job = equal_call()
  if job then return answer('ATTACHED', job) end
end
keep_time()
write()
if K.ACCOUNT == '' then leave_to_the_first_worker() else place() end
return answer('NEW', id)
