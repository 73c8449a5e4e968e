-- Limits. GCRA for rate and burst; the time of the last start for the interval, so that a
-- change acts at once and exactly; leases for concurrency.

-- A queue nobody configured has the contract's defaults; it is never unlimited.
local function scope_from(name, s, i, vt)
  local own = name ~= '@'
  return {
    name = name,
    concurrent = tonumber(s[i]) or (own and 2 or nil),
    interval = tonumber(s[i + 1]) or (own and 1000000 or 0),
    emission = tonumber(s[i + 2]) or (own and 6000000 or 0),
    burst = tonumber(s[i + 3]) or (own and 5 or 1),
    paused = s[i + 4] == '1',
    hold_until = tonumber(s[i + 5]) or 0,
    tat = tonumber(s[i + 6]) or 0,
    last = tonumber(s[i + 7]),
    vt = vt,
  }
end

local function read_scope(name)
  if name == '@' then return scope_from('@', root, 7, 0) end
  local s = call('HMGET', SCOPE .. name, 'max_concurrent', 'interval_us', 'emission_us',
    'burst', 'paused', 'hold_until', 'tat', 'last', 'vt')
  return scope_from(name, s, 1, tonumber(s[9]) or 0)
end

local function held_by(name)
  return name == '@' and call('ZCARD', LEASES) or call('SCARD', HELD .. name)
end

-- The wait until this scope alone allows a start (INF: until something happens), and which
-- of its limits that is.
local function judge(s)
  if s.paused then return INF, 'paused' end
  if s.concurrent and held_by(s.name) >= s.concurrent then
    return INF, s.concurrent == 0 and 'paused' or 'concurrency'
  end
  local wait, why = 0, ''
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

local function spend(s)
  s.tat = math.max(s.tat, now) + s.emission
  s.last = now
end

-- Spend a permit of both scopes; the caller writes the account's with save_account.
local function spend_both(s, account)
  spend(account)
  spend(s)
  virtual = math.max(s.vt, virtual)
  s.vt = virtual + 1
  call('HSET', SCOPE .. s.name, 'tat', whole(s.tat), 'last', whole(now),
    'vt', string.format('%.6f', s.vt))
end

local function save_account(account, token)
  local last = account.last and whole(account.last) or ''
  call('HSET', ROOT, 'wall', whole(wall), 'now', whole(now), 'token', whole(token),
    'virtual', string.format('%.6f', virtual), 'tat', whole(account.tat), 'last', last,
    'due', due < INF and whole(due) or '')
end

-- Change limits; what was spent is carried over in permits, not in seconds. Gives whether
-- anything changed.
local function set_limits(name, concurrent, interval, emission, burst, config_id)
  if call('HGET', SCOPE .. name, 'config_id') == config_id then return false end
  local before, after = read_scope(name), tonumber(emission)
  if before.tat > now then
    local debt = 0
    if before.emission > 0 then debt = math.ceil((before.tat - now) * after / before.emission) end
    call('HSET', SCOPE .. name, 'tat', whole(now + debt))
  end
  call('HSET', SCOPE .. name, 'max_concurrent', concurrent, 'interval_us', interval,
    'emission_us', emission, 'burst', burst, 'config_id', config_id)
  unpark(name)
  return true
end
