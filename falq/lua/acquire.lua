#!lua
-- Admit one certain job that a stock RQ worker popped from RQ's list.
-- ARGV     account, worker, job_id, lease_us
-- Touches  clock, scope:*, leases:*, waiting:*, ready, parked; falq:job:<id>
-- Reply    {1, token, queue}: it is ours | {0, wait_us (-1: unknown)}: not yet
--          | {2}: somebody else holds it or it has ended
keep_time()
local worker, id, lease_us = ARGV[2], ARGV[3], tonumber(ARGV[4])
local j = redis.call('HMGET', job_key(id), 'phase', 'queue')
if j[1] ~= 'queued' or redis.call('ZSCORE', leases_key('@'), id) then return { 2 } end
local q = j[2]
local wait, _, state = look(q)
local account_wait, _, account = look('@')
wait = math.max(wait, account_wait)
if wait > 0 then return { 0, wait >= INF and -1 or wait } end
spend('@', account)
spend(q, state)
redis.call('ZREM', waiting_key(q), id)
redis.call('LREM', list_key(q), 0, id)
delist(q)
local token = redis.call('HINCRBY', CLOCK, 'token', 1)
redis.call('HSET', job_key(id), 'token', token, 'worker', worker, 'started_at', wall_s())
lease(id, q, now + lease_us)
count('admitted')
return { 1, token, q }
