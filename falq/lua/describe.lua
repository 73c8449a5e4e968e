#!lua
-- Write into the record of a plain RQ job what it asks for; the record is made if no sweep
-- has seen the job yet.
-- Needs    account
-- ARGV     account, job_id, token ('' nobody holds it), queue, then field, value for each
-- Touches  falq:{a}:scope:@, queues; falq:job:<id>, falq:jobs
-- Reply    'OK' | 'FENCED' (another holds it, or it has gone on)
local id, token, q = ARGV[2], ARGV[3], ARGV[4]
local j = call('HMGET', 'falq:job:' .. id, 'phase', 'token', 'account')
local theirs = j[3] and j[3] ~= '' and j[3] ~= K.ACCOUNT
if j[1] and (j[1] ~= 'queued' or (j[2] or '') ~= token or theirs) then return 'FENCED' end
keep_time()
if not j[1] then
  call('HSET', 'falq:job:' .. id, 'phase', 'queued', 'queue', q, 'account', K.ACCOUNT, 'foreign', '1',
    'skill', 'rq', 'created_at', A.wall / 1000000)
  call('ZADD', 'falq:jobs', A.wall / 1000000, id)
  call('SADD', K.P .. 'queues', q)
end
call('HSET', 'falq:job:' .. id, unpack(ARGV, 5))
return 'OK'
