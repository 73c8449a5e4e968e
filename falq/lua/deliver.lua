#!lua flags=allow-oom
-- Note that a result reached its caller; a record that is gone stays gone.
-- Needs    account
-- ARGV     account, job_id
-- Touches  falq:job:<id>
-- Reply    1 if there is such a job
local found = call('EXISTS', 'falq:job:' .. ARGV[2])
if found == 1 then call('HSET', 'falq:job:' .. ARGV[2], 'delivered', '1') end
return found
