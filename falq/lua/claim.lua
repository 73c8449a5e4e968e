#!lua flags=allow-oom
-- Claim a request of fal's for a job, so that no other job takes it for its own. Runs in a
-- full Redis, too: the request is paid for.
-- Needs    account
-- ARGV     account, job_id, request_id, owner_s
-- Touches  falq:owner:<request_id>
-- Reply    1: it is the job's | 0: another job owns it
local key = 'falq:owner:' .. ARGV[3]
if call('SET', key, ARGV[2], 'NX', 'EX', ARGV[4]) then return 1 end
return call('GET', key) == ARGV[2] and 1 or 0
