#!lua flags=allow-oom
-- Write a change of a job's record, if the token is that of its holder and the table of
-- phases allows it; anything else changes nothing. A change whose reply was lost may be
-- repeated: what the token's holder did last is 'OK' again.
-- Needs    account queues jobs
-- ARGV     account, job_id, token, to, from (phases, comma on both sides), hold_us, event
--          (JSON or ''), outcome (JSON or ''), owner_s, then field, value for each
-- Touches  falq:{a}:*; falq:job:<id>, falq:events:<id>, falq:unknown, falq:owner:<request_id>,
--          falq:counters; rq:job:<id>, rq:queue:<queue>; channel falq:{a}:wake:<worker>
-- Reply    'OK' | 'FENCED' (another holds it) | 'GONE' | 'LATE' (a holder that was thought
--          dead told what became of its POST; it holds the job no more) | 'ILLEGAL:<phase>'
local id, token, to, from, hold_us = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local event, outcome, owner_s = ARGV[7], ARGV[8], ARGV[9]
local key = 'falq:job:' .. id
local j = call('HMGET', key, 'phase', 'token', 'queue', 'late_token', 'left_token')
local phase, q = j[1], j[3]
if not phase then return 'GONE' end

local function write_fields()
  for i = 10, #ARGV, 2 do
    if ARGV[i] == 'request_id' and ARGV[i + 1] ~= '' then
      call('SET', 'falq:owner:' .. ARGV[i + 1], id, 'NX', 'EX', owner_s)
    end
  end
  if #ARGV > 9 then call('HSET', key, unpack(ARGV, 10)) end
end

local function late()
  keep_time()
  call('SREM', 'falq:unknown', id)
  call('HDEL', key, 'late_token')
  call('HSET', key, 'phase', to, 'outcome', '', 'error', '', 'finished_at', '', 'deaths', 0)
  write_fields()
  tell(id, '{"phase":"' .. to .. '","late":true}')
  -- Whoever adopted it meanwhile knows less than this: it is fenced off.
  if to == 'queued' then
    call('LREM', K.ADOPT, 0, id)
    free(id, q)
    wait_again(id, q)
    wake(nil)
  else
    offer(id, q, K.CAP)
  end
  return 'LATE'
end

if j[2] ~= token then
  if phase == to and j[5] == token then return 'OK' end
  local tells = to == 'submitted' or to == 'downloading' or to == 'queued'
  if j[4] == token and tells and (phase == 'submitting' or phase == 'unknown') then
    return late()
  end
  return 'FENCED'
end
if not string.find(from, ',' .. phase .. ',', 1, true) then return 'ILLEGAL:' .. phase end

keep_time()
write_fields()
if to == 'done' or to == 'failed' or to == 'cancelled' then
  finish(id, q, to, outcome, token)
  return 'OK'
end
if to == 'queued' then
  call('HSET', key, 'left_token', token, 'deaths', 0)
  -- Whoever sent the POST before the next one has nothing more to tell.
  call('HDEL', key, 'late_token')
  free(id, q)
  wait_again(id, q)
  tell(id, '{"phase":"queued"}')
  wake(nil)
  return 'OK'
end
if to == 'unknown' then
  call('HSETNX', key, 'late_token', token)
  call('HSET', key, 'left_token', token)
  doubt(id, q, outcome, hold_us)
  return 'OK'
end
if to ~= phase then
  call('HSET', key, 'phase', to, 'deaths', 0)
  tell(id, '{"phase":"' .. to .. '"}')
end
if event ~= '' then tell(id, event) end
return 'OK'
