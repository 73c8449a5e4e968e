#!lua flags=allow-oom
-- Lengthen the leases of jobs that a worker holds; a lease that is gone stays gone.
-- Needs    account
-- ARGV     account, lease_us, then job_id, token for each
-- Touches  falq:{a}:scope:@, leases; falq:job:<id>
-- Reply    job_ids that are not the worker's any more
keep_time()
local expiry, lost = A.now + tonumber(ARGV[2]), {}
for i = 3, #ARGV, 2 do
  local id = ARGV[i]
  if call('HGET', 'falq:job:' .. id, 'token') == ARGV[i + 1] then
    call('ZADD', K.LEASES, 'XX', expiry, id)
  else
    lost[#lost + 1] = id
  end
end
return lost
