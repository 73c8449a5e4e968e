-- Change limits; what was spent is carried over in permits, not in seconds. Gives whether
-- anything changed.
local function set_limits(name, concurrent, interval, emission, burst, config_id)
  if call('HGET', K.SCOPE .. name, 'config_id') == config_id then return false end
  local before, after = read_scope(name), tonumber(emission)
  if before.tat > A.now then
    local debt = 0
    if before.emission > 0 then
      debt = math.ceil((before.tat - A.now) * after / before.emission)
    end
    call('HSET', K.SCOPE .. name, 'tat', A.now + debt)
  end
  call('HSET', K.SCOPE .. name, 'max_concurrent', concurrent, 'interval_us', interval,
    'emission_us', emission, 'burst', burst, 'config_id', config_id)
  unpark(name)
  return true
end
