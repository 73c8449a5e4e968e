#!lua
-- Take jobs into an account that came without one, or that stock tools pushed.
-- ARGV     account, default limits: max_concurrent, interval_us, emission_us, burst, config_id,
--          ids per queue that one sweep looks at
-- Touches  clock, queues, scope:*, waiting:*, ready, parked, leases:@, waiters; falq:job:<id>,
--          falq:intake, falq:jobs; rq:queues, rq:queue:*, rq:job:<id>
-- Reply    {jobs taken in, then job_id, phase for each ended job that a tool put back}
keep_time()
local most = tonumber(ARGV[7])
local taken, asked = 0, {}

local function place(id, q, lane)
  local score = lane * 1e13 + redis.call('HINCRBY', CLOCK, 'seq', 1)
  redis.call('HSET', job_key(id), 'account', ACCOUNT, 'score', whole(score))
  redis.call('ZADD', waiting_key(q), whole(score), id)
  redis.call('SADD', QUEUES, q)
  enlist(q)
  taken = taken + 1
end

local function limits_of(q, text)
  local l = {}
  for word in string.gmatch(text or '', '%S+') do l[#l + 1] = word end
  if #l == 5 then
    set_limits(q, l[1], l[2], l[3], l[4], l[5])
  elseif redis.call('HEXISTS', scope_key(q), 'config_id') == 0 then
    set_limits(q, ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6])
  end
end

local function from_intake()
  for _ = 1, most do
    local id = redis.call('LPOP', 'falq:intake')
    if not id then return end
    local j = redis.call('HMGET', job_key(id), 'phase', 'queue', 'limits', 'lane')
    if j[1] == 'queued' then
      limits_of(j[2], j[3])
      place(id, j[2], tonumber(j[4]) or 1)
    end
  end
end

local function foreign(id, q)
  redis.call('HSET', job_key(id), 'phase', 'queued', 'queue', q, 'foreign', '1', 'skill', 'rq',
    'created_at', wall_s(), 'model_id', '', 'mode', 'sync')
  redis.call('ZADD', 'falq:jobs', string.format('%.3f', wall / 1000000), id)
  limits_of(q, nil)
  place(id, q, 1)
end

local function sweep_one(id, q)
  if redis.call('HGET', rq_key(id), 'status') ~= 'queued' then return end
  local j = redis.call('HMGET', job_key(id), 'phase', 'account', 'score')
  if not j[1] then
    foreign(id, q)
  elseif j[2] == ACCOUNT and not redis.call('ZSCORE', waiting_key(q), id)
    and not redis.call('ZSCORE', leases_key('@'), id) then
    if j[1] == 'queued' then
      redis.call('ZADD', waiting_key(q), j[3] or 1e13, id)
      enlist(q)
      taken = taken + 1
    else
      asked[#asked + 1] = id
      asked[#asked + 1] = j[1]
    end
  end
end

local function sweep()
  for _, list in ipairs(redis.call('SMEMBERS', 'rq:queues')) do
    local q = string.sub(list, 10)
    if redis.call('LLEN', list) > redis.call('ZCARD', waiting_key(q)) then
      for _, id in ipairs(redis.call('LRANGE', list, 0, most - 1)) do sweep_one(id, q) end
      for _, id in ipairs(redis.call('LRANGE', list, -most, -1)) do sweep_one(id, q) end
    end
  end
end

from_intake()
sweep()
if taken > 0 then wake(nil) end
table.insert(asked, 1, taken)
return asked
