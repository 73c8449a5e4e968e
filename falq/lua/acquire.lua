#!lua
-- Admit one certain job that a stock RQ worker popped from RQ's list.
-- Needs    account queues scopes spending jobs
-- ARGV     account, worker, job_id, lease_us
-- Touches  falq:{a}:*; falq:job:<id>, falq:counters; rq:queue:<queue>
-- Reply    {1, token, queue, adopted}: it is ours | {0, wait_us (-1: unknown)}: not yet
--          | {2}: somebody else holds it, it has ended, or there is none
local worker, id, lease_us = ARGV[2], ARGV[3], tonumber(ARGV[4])
local j = call('HMGET', 'falq:job:' .. id, 'phase', 'queue', 'token')
local phase, q = j[1], j[2]
keep_time()
if not phase or (j[3] and j[3] ~= '') then return { 2 } end
local adopted = call('LREM', K.ADOPT, 0, id)
if adopted == 0 then
  if phase ~= 'queued' then return { 2 } end
  local s = read_scope(q)
  local wait = math.max(judge(s), (judge(A)))
  if wait > 0 then return { 0, wait >= K.INF and -1 or wait } end
  spend(s)
  call('ZREM', K.WAITING .. q, id)
  call('LREM', 'rq:queue:' .. q, 0, id)
  call('ZADD', K.READY, 'XX', s.vt, q)
  delist(q)
  call('HSET', 'falq:job:' .. id, 'started_at', A.wall / 1000000)
end
A.token = A.token + 1
call('HSET', 'falq:job:' .. id, 'token', A.token, 'worker', worker)
lease(id, q, A.now + lease_us)
save_account()
return { 1, A.token, q, adopted }
