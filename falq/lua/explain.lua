#!lua flags=no-writes
-- Say what scopes wait for, without changing anything.
-- Needs    account scopes
-- ARGV     account, then scopes
-- Touches  (reads) falq:{a}:scope:*, leases, held:*, waiting:*
-- Reply    for each scope: its name, waiting, running, wait_us (-1: until a wake-up), limit
--          that holds it ('' none), paused, hold_reason, max_concurrent ('' none),
--          interval_us, emission_us, burst
local function explain(name)
  local s = read_scope(name)
  local wait, why = judge(s)
  return {
    name, call('ZCARD', K.WAITING .. name), held_by(s),
    wait >= K.INF and -1 or wait, why, s.paused and 1 or 0,
    s.hold_until > A.now and call('HGET', K.SCOPE .. name, 'hold_reason') or '',
    s.concurrent or '', s.interval, s.emission, s.burst,
  }
end
local all = {}
for i = 2, #ARGV do all[#all + 1] = explain(ARGV[i]) end
return all
