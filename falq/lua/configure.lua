#!lua
-- Change a scope: its limits, a pause, or a hold.
-- ARGV     account, scope, what ('limits', 'pause', 'resume', 'hold', 'release'), then for
--          limits: max_concurrent ('' none), interval_us, emission_us, burst, config_id;
--          for hold: microseconds, reason
-- Touches  clock, scope:<scope>, ready, parked, waiters
-- Reply    1
keep_time()
local scope, what = ARGV[2], ARGV[3]
local key = scope_key(scope)

local function loosen()
  if scope == '@' then
    for _, q in ipairs(redis.call('ZRANGE', PARKED, 0, -1)) do unpark(q) end
  else
    unpark(scope)
  end
  redis.call('HDEL', CLOCK, 'timer', 'timer_worker')
  for _ = 1, 8 do wake(nil) end
end

if what == 'limits' then
  set_limits(scope, ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8])
elseif what == 'pause' then
  redis.call('HSET', key, 'paused', '1')
elseif what == 'resume' then
  redis.call('HDEL', key, 'paused')
elseif what == 'hold' then
  local until_us = now + tonumber(ARGV[4])
  local before = tonumber(redis.call('HGET', key, 'hold_until')) or 0
  if until_us > before then
    redis.call('HSET', key, 'hold_until', whole(until_us), 'hold_reason', ARGV[5])
  end
elseif what == 'release' then
  redis.call('HDEL', key, 'hold_until', 'hold_reason')
end
loosen()
return 1
