-- Reads how much memory the server uses, and how much it may.
--   a      nothing
--   returns {used, limit} in bytes; a limit of 0 is none
-- @include base

local info = redis.call('INFO', 'memory')
return { tonumber(string.match(info, 'used_memory:(%d+)')), tonumber(string.match(info, 'maxmemory:(%d+)') or 0) }
