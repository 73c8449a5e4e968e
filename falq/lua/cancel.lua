#!lua flags=allow-oom
-- Cancel a job that waits, at once; ask the holder of one that was started.
-- Needs    account queues jobs
-- ARGV     account, job_id, error (JSON)
-- Touches  falq:{a}:*; falq:job:<id>, falq:events:<id>, falq:intake, falq:counters;
--          rq:job:<id>, rq:queue:<queue>, rq:canceled:<queue>; channel falq:{a}:wake:<worker>
-- Reply    the phase that the job was in, 'gone' if there is none
local id = ARGV[2]
local key = 'falq:job:' .. id
local j = call('HMGET', key, 'phase', 'queue', 'worker', 'token')
local phase, q = j[1], j[2]
if not phase then return 'gone' end
if phase == 'done' or phase == 'failed' or phase == 'cancelled' or phase == 'unknown' then
  return phase
end
keep_time()
if phase == 'queued' and (not j[4] or j[4] == '') then
  call('ZREM', K.WAITING .. q, id)
  call('LREM', 'rq:queue:' .. q, 0, id)
  call('LREM', 'falq:intake', 0, id)
  delist(q)
  call('HSET', key, 'error', ARGV[3])
  finish(id, q, 'cancelled', '{"status":"FAILED","error":' .. ARGV[3] .. '}', '')
  show_end(id, q, 'canceled', 'canceled')
  return phase
end
call('HSET', key, 'cancel_requested', '1')
call('PUBLISH', K.P .. 'wake:' .. (j[3] or ''), 'cancel:' .. id)
return phase
