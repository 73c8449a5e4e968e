#!lua flags=allow-oom
-- Lengthen the leases of jobs that a worker holds.
-- ARGV     account, lease_us, then job_id, token for each
-- Touches  clock, leases:*; falq:job:<id>
-- Reply    job_ids that are not the worker's any more
keep_time()
local lost = {}
for i = 3, #ARGV, 2 do
  local id = ARGV[i]
  local j = redis.call('HMGET', job_key(id), 'token', 'queue')
  if j[1] == ARGV[i + 1] then
    local expiry = whole(now + tonumber(ARGV[2]))
    redis.call('ZADD', leases_key('@'), 'XX', expiry, id)
    redis.call('ZADD', leases_key(j[2]), 'XX', expiry, id)
  else
    lost[#lost + 1] = id
  end
end
return lost
