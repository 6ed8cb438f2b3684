-- Reads what all processes have counted, and how much memory the server uses and may use.
--   a       nothing
--   returns {series and sums as a flat list, bytes used, limit in bytes (0 = none)}
-- @include base

local info = redis.call('INFO', 'memory')
return { redis.call('HGETALL', P .. 'counts'), tonumber(string.match(info, 'used_memory:(%d+)')),
  tonumber(string.match(info, 'maxmemory:(%d+)') or 0) }
