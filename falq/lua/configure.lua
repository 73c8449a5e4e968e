#!lua flags=allow-oom
-- Change a scope: its limits, a pause, or a hold; in a full Redis, too: jobs end by it.
-- Needs    account queues scopes limiting
-- ARGV     account, scope, what ('limits', 'pause', 'resume', 'hold'), then for
--          limits: max_concurrent ('' none), interval_us, emission_us, burst, config_id;
--          for hold: microseconds, reason
-- Touches  falq:{a}:scope:<scope>, queues, ready, parked, waiters; channel falq:{a}:wake:<worker>
-- Reply    'OK'
local scope, what = ARGV[2], ARGV[3]
local key = K.SCOPE .. scope
keep_time()
if scope ~= '@' then call('SADD', K.P .. 'queues', scope) end
if what == 'limits' then
  set_limits(scope, ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8])
elseif what == 'pause' then
  call('HSET', key, 'paused', '1')
elseif what == 'resume' then
  call('HDEL', key, 'paused', 'hold_until', 'hold_reason')
elseif what == 'hold' then
  local until_us = A.now + tonumber(ARGV[4])
  local before = tonumber(call('HGET', key, 'hold_until')) or 0
  if until_us > before then
    call('HSET', key, 'hold_until', until_us, 'hold_reason', ARGV[5])
  end
end
-- The time for which the queue was parked is void.
unpark(scope)
wake(nil)
return 'OK'
