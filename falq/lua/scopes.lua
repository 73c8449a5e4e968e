-- Limits. GCRA for rate and burst; the time of the last start for the interval, so that a
-- change acts at once and exactly; leases for concurrency.

-- A queue nobody configured has the contract's defaults; it is never unlimited.
local function read_scope(name)
  if name == '@' then return A end
  local s = call('HMGET', K.SCOPE .. name, 'max_concurrent', 'interval_us', 'emission_us',
    'burst', 'paused', 'hold_until', 'tat', 'last', 'vt')
  return {
    name = name,
    concurrent = tonumber(s[1]) or 2,
    interval = tonumber(s[2]) or 1000000,
    emission = tonumber(s[3]) or 6000000,
    burst = tonumber(s[4]) or 5,
    paused = s[5] == '1',
    hold_until = tonumber(s[6]) or 0,
    tat = tonumber(s[7]) or 0,
    last = tonumber(s[8]),
    vt = tonumber(s[9]) or 0,
  }
end

local function held_by(s)
  return s == A and call('ZCARD', K.LEASES) or call('SCARD', K.HELD .. s.name)
end

-- The wait until this scope alone allows a start (INF: until something happens), and which
-- of its limits that is.
local function judge(s)
  if s.paused then return K.INF, 'paused' end
  if s.concurrent and held_by(s) >= s.concurrent then
    return K.INF, s.concurrent == 0 and 'paused' or 'concurrency'
  end
  local now, wait, why = A.now, 0, ''
  if s.emission > 0 then
    wait = math.max(s.tat, now) - (s.burst - 1) * s.emission - now
    why = 'rate'
  end
  if s.interval > 0 and s.last and s.last + s.interval - now > wait then
    wait, why = s.last + s.interval - now, 'interval'
  end
  if s.hold_until - now > wait then wait, why = s.hold_until - now, 'hold' end
  if wait <= 0 then return 0, '' end
  return wait, why
end
