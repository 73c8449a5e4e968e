#!lua
-- Bring an ended or unknown job back, because a person or a tool asks for it.
-- Needs    account queues jobs
-- ARGV     account ('' if it was never taken in), job_id, to, from (phases, comma on both
--          sides), lease_us, number n of record fields, n x (field, value), then RQ's (field,
--          value), for a hash that has expired
-- Touches  falq:{a}:*; falq:job:<id>, falq:events:<id>, falq:unknown, falq:intake,
--          falq:counters; rq:job:<id>, rq:queues, rq:queue:<queue>, rq:failed:<queue>,
--          rq:canceled:<queue>; channels falq:wake, falq:{a}:wake:<worker>
-- Reply    'OK' | 'GONE' | 'ILLEGAL:<phase>'
local id, to, from = ARGV[2], ARGV[3], ARGV[4]
local key = 'falq:job:' .. id
local j = call('HMGET', key, 'phase', 'queue')
local phase, q = j[1], j[2]
if not phase then return 'GONE' end
if not string.find(from, ',' .. phase .. ',', 1, true) then return 'ILLEGAL:' .. phase end
local first_rq = 7 + 2 * tonumber(ARGV[6])

local function queue_again()
  if call('EXISTS', 'rq:job:' .. id) == 0 then call('HSET', 'rq:job:' .. id, unpack(ARGV, first_rq)) end
  call('SADD', 'rq:queues', 'rq:queue:' .. q)
  if K.ACCOUNT == '' then
    call('LREM', 'rq:queue:' .. q, 0, id)
    call('LPUSH', 'rq:queue:' .. q, id)
    call('HSET', 'rq:job:' .. id, 'status', 'queued')
    call('LREM', 'falq:intake', 0, id)
    call('LPUSH', 'falq:intake', id)
    call('PUBLISH', 'falq:wake', 'intake')
    return
  end
  call('HSET', key, 'account', K.ACCOUNT)
  call('SADD', K.P .. 'queues', q)
  free(id, q)
  wait_again(id, q)
  wake(nil)
end

keep_time()
call('PERSIST', key)
call('PERSIST', 'rq:job:' .. id)
call('SREM', 'falq:unknown', id)
call('HDEL', key, 'late_token')
if ARGV[6] ~= '0' then call('HSET', key, unpack(ARGV, 7, first_rq - 1)) end
if to == 'failed' then
  local error = call('HGET', key, 'error')
  finish(id, q, 'failed', '{"status":"FAILED","error":' .. error .. '}', '')
  show_end(id, q, 'failed', 'failed')
  return 'OK'
end
call('ZREM', 'rq:failed:' .. q, id)
call('ZREM', 'rq:canceled:' .. q, id)
call('HSET', key, 'phase', to, 'token', '', 'left_token', '', 'deaths', 0, 'error', '',
  'outcome', '', 'finished_at', '', 'cancel_requested', '', 'delivered', '')
tell(id, '{"phase":"' .. to .. '","reopened":true}')
if to == 'queued' then
  queue_again()
else
  call('LREM', 'rq:queue:' .. q, 0, id)
  offer(id, q, tonumber(ARGV[5]))
end
return 'OK'
