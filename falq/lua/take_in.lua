#!lua
-- Take jobs into an account that came without one, or that stock tools pushed.
-- Needs    account queues scopes limiting jobs
-- ARGV     account, default limits: max_concurrent, interval_us, emission_us, burst, config_id,
--          ids to look at on each end of a list, then RQ lists to sweep
-- Touches  falq:{a}:*; falq:job:<id>, falq:intake, falq:jobs; rq:queue:*, rq:job:<id>;
--          channel falq:{a}:wake:<worker>
-- Reply    {jobs taken in, {job_id, queue, ... of waiting jobs that a tool cancelled or
--          deleted}, {job_id, phase, ... of ended jobs that a tool put back}}
local most = tonumber(ARGV[7])
local taken, dropped, asked = 0, {}, {}

local function place(id, q, score)
  call('HSET', 'falq:job:' .. id, 'account', K.ACCOUNT, 'score', score)
  call('ZADD', K.WAITING .. q, score, id)
  call('SADD', K.P .. 'queues', q)
  enlist(q)
  taken = taken + 1
end

local function next_score(lane)
  return lane * 1e13 + call('HINCRBY', K.ROOT, 'seq', 1)
end

local function limit(q, text)
  local l = {}
  for word in string.gmatch(text or '', '%S+') do l[#l + 1] = word end
  if #l == 5 then
    set_limits(q, l[1], l[2], l[3], l[4], l[5])
  elseif call('HEXISTS', K.SCOPE .. q, 'config_id') == 0 then
    set_limits(q, ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6])
  end
end

local function empty_intake()
  for _ = 1, most do
    local id = call('LPOP', 'falq:intake')
    if not id then return end
    local j = call('HMGET', 'falq:job:' .. id, 'phase', 'queue', 'limits', 'lane')
    if j[1] == 'queued' then
      limit(j[2], j[3])
      place(id, j[2], next_score(tonumber(j[4]) or 1))
    end
  end
end

-- A plain RQ job: it gets a record, and the limits of its queue hold for it, too.
local function naturalise(id, q)
  call('HSET', 'falq:job:' .. id, 'phase', 'queued', 'queue', q, 'foreign', '1', 'skill', 'rq',
    'created_at', A.wall / 1000000, 'model_id', '', 'mode', 'sync')
  call('ZADD', 'falq:jobs', A.wall / 1000000, id)
  limit(q, nil)
  place(id, q, next_score(1))
end

local function sweep_one(id, q)
  -- RQ makes no such id; it would break what is read as text.
  if string.find(id, '[^%w_.:%-]') then return end
  local j = call('HMGET', 'falq:job:' .. id, 'phase', 'account', 'score', 'token')
  local status = call('HGET', 'rq:job:' .. id, 'status')
  if not j[1] then
    if status == 'queued' then naturalise(id, q) end
    if not status then call('LREM', 'rq:queue:' .. q, 0, id) end
  elseif j[2] ~= K.ACCOUNT or call('ZSCORE', K.WAITING .. q, id) then
    return
  elseif j[1] == 'queued' and (not j[4] or j[4] == '') then
    place(id, q, j[3] or next_score(1))
  elseif status == 'queued'
    and (j[1] == 'unknown' or not call('ZSCORE', K.LEASES, id)) then
    asked[#asked + 1] = id
    asked[#asked + 1] = j[1]
  else
    call('LREM', 'rq:queue:' .. q, 0, id)
  end
end

local function waits(list, q, at) return call('ZSCORE', K.WAITING .. q, call('LINDEX', list, at)) end

-- Fewer ids in RQ's list than jobs that wait: tools cancelled some, or stock workers popped them.
local function find_dropped(q)
  for _, id in ipairs(call('ZRANGE', K.WAITING .. q, 0, most - 1)) do
    local status = call('HGET', 'rq:job:' .. id, 'status')
    if not status or status == 'canceled' or status == 'stopped' then
      dropped[#dropped + 1] = id
      dropped[#dropped + 1] = q
    end
  end
end

local function sweep(list)
  local q = string.sub(list, #'rq:queue:' + 1)
  if q == '@' or string.find(q, '%c') then return end
  local length, waiting = call('LLEN', list), call('ZCARD', K.WAITING .. q)
  if length < waiting then find_dropped(q) end
  if length == 0 then return end
  -- As many as there should be may still be others: tools push at both ends.
  if length == waiting and waits(list, q, 0) and waits(list, q, -1) then return end
  local ids = call('LRANGE', list, 0, most - 1)
  if length > most then
    for _, id in ipairs(call('LRANGE', list, math.max(most, length - most), -1)) do
      ids[#ids + 1] = id
    end
  end
  for _, id in ipairs(ids) do sweep_one(id, q) end
end

keep_time()
empty_intake()
for i = 8, #ARGV do sweep(ARGV[i]) end
if taken > 0 then wake(nil) end
return { taken, dropped, asked }
