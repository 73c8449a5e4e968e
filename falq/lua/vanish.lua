#!lua
-- End jobs that a stock tool cancelled or deleted while they waited; nothing was sent.
-- Needs    account queues jobs
-- ARGV     account, then job_id, queue, error (JSON) for each
-- Touches  falq:{a}:*; falq:job:<id>, falq:events:<id>, falq:counters; rq:job:<id>,
--          rq:queue:<queue>, rq:canceled:<queue>; channel falq:{a}:wake:<worker>
-- Reply    nothing
keep_time()
for i = 2, #ARGV, 3 do
  local id, q, error = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local j = call('HMGET', 'falq:job:' .. id, 'phase', 'token')
  local status = call('HGET', 'rq:job:' .. id, 'status')
  local dropped = not status or status == 'canceled' or status == 'stopped'
  local waits = j[1] == 'queued' and (not j[2] or j[2] == '')
  if dropped or not waits then
    call('ZREM', K.WAITING .. q, id)
    call('LREM', 'rq:queue:' .. q, 0, id)
    delist(q)
  end
  if dropped and waits then
    call('HSET', 'falq:job:' .. id, 'error', error)
    finish(id, q, 'cancelled', '{"status":"FAILED","error":' .. error .. '}', '')
    show_end(id, q, 'canceled', 'canceled')
  end
end
