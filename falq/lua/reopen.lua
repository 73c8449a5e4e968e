#!lua
-- Bring an ended or unknown job back, because a person or a tool asks for it.
-- Needs    account queues jobs
-- ARGV     account, job_id, to, from (phases, comma on both sides), lease_us, then field,
--          value for each
-- Touches  falq:{a}:*; falq:job:<id>, falq:events:<id>, falq:unknown, falq:counters;
--          rq:job:<id>, rq:queue:<queue>, rq:failed:<queue>, rq:canceled:<queue>; channel
--          falq:{a}:wake:<worker>
-- Reply    'OK' | 'GONE' | 'ILLEGAL:<phase>'
local id, to, from = ARGV[2], ARGV[3], ARGV[4]
local key = JOB .. id
local j = call('HMGET', key, 'phase', 'queue')
local phase, q = j[1], j[2]
if not phase then return 'GONE' end
if not string.find(from, ',' .. phase .. ',', 1, true) then return 'ILLEGAL:' .. phase end
keep_time()
call('PERSIST', key)
call('PERSIST', RQ_JOB .. id)
call('SREM', 'falq:unknown', id)
call('HDEL', key, 'late_token')
if #ARGV >= 6 then call('HSET', key, unpack(ARGV, 6)) end
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
  free(id, q)
  wait_again(id, q)
  wake(nil)
else
  call('LREM', RQ_QUEUE .. q, 0, id)
  offer(id, q, tonumber(ARGV[5]))
end
return 'OK'
