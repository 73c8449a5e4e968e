#!lua
-- Bring an ended or unknown job back, because a person or a tool asks for it.
-- ARGV     account, job_id, to, from (phases, comma on both sides), lease_us, then field,
--          value for each
-- Touches  clock, leases:*, waiting:*, ready, parked, adopt, waiters; falq:job:<id>,
--          falq:events:<id>, falq:unknown; rq:job:<id>, rq:queue:<queue>
-- Reply    'OK' | 'GONE' | 'ILLEGAL:<phase>'
keep_time()
local id, to, from = ARGV[2], ARGV[3], ARGV[4]
local key = job_key(id)
local j = redis.call('HMGET', key, 'phase', 'queue')
local phase, q = j[1], j[2]
if not phase then return 'GONE' end
if not string.find(from, ',' .. phase .. ',', 1, true) then return 'ILLEGAL:' .. phase end
redis.call('PERSIST', key)
redis.call('SREM', 'falq:unknown', id)
redis.call('HDEL', key, 'late_token')
for i = 6, #ARGV, 2 do redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
if to == 'failed' then
  local error = redis.call('HGET', key, 'error')
  finish(id, q, 'failed', '{"status":"FAILED","error":' .. error .. '}')
  return 'OK'
end
redis.call('HSET', key, 'phase', to, 'token', '', 'deaths', 0, 'error', '', 'outcome', '',
  'finished_at', '', 'cancel_requested', '', 'delivered', '')
if to == 'queued' then
  free(id, q)
  wait_again(id, q)
else
  lease(id, q, now + tonumber(ARGV[5]))
  redis.call('LREM', ADOPT, 0, id)
  redis.call('RPUSH', ADOPT, id)
end
tell(id, '{"phase":"' .. to .. '","reopened":true}')
wake(q)
return 'OK'
