#!lua
-- Show that this user may write what falq writes, and that the server takes it.
-- Needs    account
-- ARGV     account (none: '')
-- Touches  falq:{}:scope:@ (reads); falq:probe:<type>, rq:probe, which are gone when it ends
-- Reply    'OK', or the server's error
local PROBE = 'falq:probe:'
local KINDS = {
  { PROBE .. 'hash', 'HSET', 'f', '1' },
  { PROBE .. 'zset', 'ZADD', 1, 'm' },
  { PROBE .. 'set', 'SADD', 'm' },
  { PROBE .. 'stream', 'XADD', '*', 'e', '1' },
  { 'rq:probe', 'RPUSH', 'm' },
}
local refused = nil

-- A refusal must not end the script: what was written before has to go.
local function try(...)
  local reply = redis.pcall(...)
  if not refused and type(reply) == 'table' and reply.err then refused = reply end
end

for _, kind in ipairs(KINDS) do
  try(kind[2], kind[1], unpack(kind, 3))
  try('EXPIRE', kind[1], 60)
end
try('PUBLISH', PROBE, '')
for _, kind in ipairs(KINDS) do try('DEL', kind[1]) end
return refused or 'OK'
