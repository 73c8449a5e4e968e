#!lua flags=allow-oom
-- Claim a request of fal's for a job, so that no other job takes it for its own. Runs in a
-- full Redis, too: the request is paid for.
-- Needs    account
-- ARGV     account, job_id, request_id, owner_s, token of the job's holder ('' for a person)
-- Touches  falq:job:<id>, falq:owner:<request_id>
-- Reply    1: it is the job's | 0: another job owns it | -1: another holds the job; whoever sent
--          its POST may still tell what became of it
local id, key, token = ARGV[2], 'falq:owner:' .. ARGV[3], ARGV[5]
if token ~= '' then
  local j = call('HMGET', 'falq:job:' .. id, 'token', 'late_token')
  if j[1] ~= token and j[2] ~= token then return -1 end
end
if call('SET', key, id, 'NX', 'EX', ARGV[4]) then return 1 end
return call('GET', key) == id and 1 or 0
