#!lua flags=allow-oom
-- A worker that ends leaves its jobs to others at once; that is no death.
-- Needs    account queues jobs
-- ARGV     account, lease_us, then job_id, token for each
-- Touches  falq:{a}:*; falq:job:<id>; rq:job:<id>, rq:queue:<queue>; channel
--          falq:{a}:wake:<worker>
-- Reply    how many jobs were left
keep_time()
local left = 0
for i = 3, #ARGV, 2 do
  local j = call('HMGET', 'falq:job:' .. ARGV[i], 'token', 'queue', 'phase')
  if j[1] == ARGV[i + 1] then
    hand_over(ARGV[i], j[2], j[3], j[1], tonumber(ARGV[2]))
    left = left + 1
  end
end
return left
