-- Reads what all processes have counted, how much memory the server uses and may use, and whether it may evict.
--   a       nothing
--   returns {series and sums as a flat list, {used, limit, evicts} as in includes/server_memory.lua}
-- @include base
-- @include server_memory

return { redis.call('HGETALL', P .. 'counts'), server_memory() }
