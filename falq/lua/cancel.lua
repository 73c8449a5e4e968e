#!lua flags=allow-oom
-- Cancel a job that waits, at once; ask the holder of one that was started.
-- ARGV     account, job_id, error (JSON)
-- Touches  clock, leases:*, waiting:*, ready, parked; falq:job:<id>, falq:events:<id>;
--          rq:job:<id>, rq:queue:<queue>; channel falq:{a}:wake:<worker>
-- Reply    the phase that the job was in, 'gone' if there is none
keep_time()
local id = ARGV[2]
local key = job_key(id)
local j = redis.call('HMGET', key, 'phase', 'queue', 'worker')
local phase, q = j[1], j[2]
if not phase then return 'gone' end
if phase == 'done' or phase == 'failed' or phase == 'cancelled' or phase == 'unknown' then
  return phase
end
if phase == 'queued' and not redis.call('ZSCORE', leases_key('@'), id) then
  redis.call('ZREM', waiting_key(q), id)
  redis.call('LREM', list_key(q), 0, id)
  redis.call('LREM', 'falq:intake', 0, id)
  redis.call('HSET', rq_key(id), 'status', 'canceled')
  redis.call('EXPIRE', rq_key(id), 86400)
  delist(q)
  redis.call('HSET', key, 'error', ARGV[3])
  finish(id, q, 'cancelled', '{"status":"FAILED","error":' .. ARGV[3] .. '}')
  return phase
end
redis.call('HSET', key, 'cancel_requested', '1')
if j[3] and j[3] ~= '' then redis.call('PUBLISH', P .. 'wake:' .. j[3], 'cancel:' .. id) end
return phase
