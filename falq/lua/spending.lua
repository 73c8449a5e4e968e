-- Spending permits, of a queue and of the account together.

-- The caller writes the account's with save_account.
local function spend(s)
  local now = A.now
  A.tat, A.last = math.max(A.tat, now) + A.emission, now
  s.tat = math.max(s.tat, now) + s.emission
  A.virtual = math.max(s.vt, A.virtual)
  s.vt = A.virtual + 1
  call('HSET', K.SCOPE .. s.name, 'tat', s.tat, 'last', now, 'vt', s.vt)
end

local function save_account()
  call('HSET', K.ROOT, 'wall', A.wall, 'now', A.now, 'token', A.token, 'virtual', A.virtual,
    'tat', A.tat, 'last', A.last or 0)
end
