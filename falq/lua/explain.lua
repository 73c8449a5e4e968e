#!lua flags=no-writes
-- Say what queues wait for, without changing anything.
-- ARGV     account, then queues
-- Touches  (reads) clock, scope:*, leases:*, waiting:*
-- Reply    for each of @ and the queues: scope, waiting, running, wait_us (-1: until a
--          wake-up), limit that holds it ('' none), paused, hold_reason, max_concurrent,
--          interval_us, emission_us, burst
local function shown(scope)
  local s = redis.call('HMGET', scope_key(scope), 'paused', 'hold_reason', 'max_concurrent',
    'interval_us', 'emission_us', 'burst')
  local wait, why = look(scope)
  local own = scope ~= '@'
  return {
    scope, redis.call('ZCARD', waiting_key(scope)), redis.call('ZCARD', leases_key(scope)),
    wait >= INF and -1 or math.max(0, math.ceil(wait)), why, s[1] or '', s[2] or '',
    s[3] or (own and '2' or ''), s[4] or (own and '1000000' or '0'),
    s[5] or (own and '6000000' or '0'), s[6] or (own and '5' or '1'),
  }
end
local all = { shown('@') }
for i = 2, #ARGV do all[#all + 1] = shown(ARGV[i]) end
return all
