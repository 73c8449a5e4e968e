-- Queues and sleepers. A queue with waiting jobs is in exactly one of ready and parked.

-- Wake the sleeper that has slept longest, still listens, and serves the queue. Without a
-- queue: sleepers enough that each queue that anybody serves is served by one of them.
local function wake(q)
  if not A.asleep then return end
  local kinds, i = {}, 0
  while true do
    local entry = call('ZRANGE', K.WAITERS, i, i)[1]
    if not entry then
      if i == 0 then
        A.asleep = false
        call('HDEL', K.ROOT, 'asleep')
      end
      return
    end
    local space = string.find(entry, ' ', 1, true)
    local pattern = string.sub(entry, space + 1)
    local wanted = pattern == ''
    if not wanted and q then wanted = string.find(q, pattern) end
    if not wanted and not q then wanted = not kinds[pattern] end
    if wanted then
      call('ZREM', K.WAITERS, entry)
      if call('PUBLISH', K.P .. 'wake:' .. string.sub(entry, 1, space - 1), 'look') > 0 then
        if q or pattern == '' then return end
        kinds[pattern] = true
      end
    else
      i = i + 1
    end
  end
end

-- Give whether the queue is ready by now, which a sleeper should hear of.
local function enlist(q)
  if call('ZSCORE', K.PARKED, q) then return false end
  local vt = tonumber(call('HGET', K.SCOPE .. q, 'vt')) or 0
  call('ZADD', K.READY, 'NX', math.max(vt, A.virtual), q)
  return true
end

local function unpark(q)
  if call('ZREM', K.PARKED, q) == 1 then enlist(q) end
end

local function delist(q)
  if call('ZCARD', K.WAITING .. q) == 0 then
    call('ZREM', K.READY, q)
    call('ZREM', K.PARKED, q)
  end
end
