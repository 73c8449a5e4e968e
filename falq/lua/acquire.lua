#!lua
-- Admit one certain job that a stock RQ worker popped from RQ's list.
-- Needs    account queues scopes jobs
-- ARGV     account, worker, job_id, lease_us
-- Touches  falq:{a}:*; falq:job:<id>, falq:counters; rq:queue:<queue>
-- Reply    {1, token, queue, adopted}: it is ours | {0, wait_us (-1: unknown)}: not yet
--          | {2}: somebody else holds it, it has ended, or there is none
local worker, id, lease_us = ARGV[2], ARGV[3], tonumber(ARGV[4])
local account = read_scope('@')
local token = (tonumber(root[4]) or 0) + 1
local j = call('HMGET', JOB .. id, 'phase', 'queue', 'token')
local phase, q = j[1], j[2]
keep_time()
if not phase or (j[3] and j[3] ~= '') then return { 2 } end
local adopted = call('LREM', ADOPT, 0, id)
if adopted == 0 then
  if phase ~= 'queued' then return { 2 } end
  local s = read_scope(q)
  local wait = math.max(judge(s), (judge(account)))
  if wait > 0 then return { 0, wait >= INF and -1 or wait } end
  spend_both(s, account)
  call('ZREM', WAITING .. q, id)
  call('LREM', RQ_QUEUE .. q, 0, id)
  call('ZADD', READY, 'XX', string.format('%.6f', s.vt), q)
  delist(q)
  call('HSET', JOB .. id, 'started_at', wall_s())
end
call('HSET', JOB .. id, 'token', whole(token), 'worker', worker)
lease(id, q, now + lease_us)
save_account(account, token)
return { 1, token, q, adopted }
