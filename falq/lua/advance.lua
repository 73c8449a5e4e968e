#!lua flags=allow-oom
-- Write a change of a job's record, if the token is that of its holder and the table of
-- phases allows it; anything else changes nothing.
-- ARGV     account, job_id, token, to, from (phases, comma on both sides), hold_us, event
--          (JSON or ''), outcome (JSON or ''), then field, value for each
-- Touches  clock, leases:*, waiting:*, ready, parked, adopt, waiters; falq:job:<id>,
--          falq:events:<id>, falq:unknown, falq:counters; rq:job:<id>, rq:queue:<queue>
-- Reply    'OK' | 'FENCED' (another holds it) | 'GONE' | 'LATE' (a holder that was thought
--          dead told what became of its POST; it holds the job no more) | 'ILLEGAL:<phase>'
keep_time()
local id, token, to, from, hold_us = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local event, outcome = ARGV[7], ARGV[8]
local key = job_key(id)
local j = redis.call('HMGET', key, 'phase', 'token', 'queue', 'late_token')
local phase, q = j[1], j[3]
if not phase then return 'GONE' end

local function write_fields()
  for i = 9, #ARGV, 2 do redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
end

local function late()
  local adopted = j[2] and j[2] ~= ''
  redis.call('HDEL', key, 'late_token')
  write_fields()
  if to == 'queued' then
    if adopted then
      redis.call('HSET', key, 'phase', 'queued')
    else
      redis.call('LREM', ADOPT, 0, id)
      redis.call('SREM', 'falq:unknown', id)
      free(id, q)
      wait_again(id, q)
    end
  else
    redis.call('HSET', key, 'phase', to, 'outcome', '', 'error', '', 'finished_at', '')
    if phase == 'unknown' then
      redis.call('SREM', 'falq:unknown', id)
      redis.call('PERSIST', key)
      lease(id, q, now + CAP)
      redis.call('LREM', ADOPT, 0, id)
      redis.call('RPUSH', ADOPT, id)
    end
  end
  tell(id, '{"phase":"' .. to .. '","late":true}')
  wake(q)
  return 'LATE'
end

if j[2] ~= token then
  local tells = to == 'submitted' or to == 'downloading' or to == 'queued'
  if j[4] == token and tells and (phase == 'submitting' or phase == 'unknown') then return late() end
  return 'FENCED'
end
if not string.find(from, ',' .. phase .. ',', 1, true) then return 'ILLEGAL:' .. phase end

write_fields()
if to == 'done' or to == 'failed' or to == 'cancelled' then
  redis.call('HDEL', key, 'late_token')
  finish(id, q, to, outcome)
  return 'OK'
end
if to == 'queued' then
  free(id, q)
  wait_again(id, q)
  tell(id, '{"phase":"queued"}')
  wake(q)
  return 'OK'
end
redis.call('HSET', key, 'phase', to)
if to ~= phase then
  redis.call('HSET', key, 'deaths', 0)
  tell(id, '{"phase":"' .. to .. '"}')
end
if event ~= '' then tell(id, event) end
if to == 'unknown' then
  redis.call('HSET', key, 'outcome', outcome, 'late_token', token, 'token', '',
    'finished_at', wall_s())
  redis.call('SADD', 'falq:unknown', id)
  lease(id, q, now + hold_us)
  count('ended:unknown')
end
return 'OK'
