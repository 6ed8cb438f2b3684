-- Reads how much memory the server uses, how much it may, whether it may evict records, and how much work will need more.
--   a       lanes {lane, …}
--   returns {used, limit, evicts, waiting}: as in includes/server_memory.lua; runs that wait in these lanes, scheduled
--           ones included
-- @include base
-- @include server_memory

local found, waiting = server_memory(), 0
for _, lane in ipairs(a.lanes) do
  waiting = waiting + redis.call('ZCARD', P .. 'queue:' .. lane)
    + tonumber(redis.call('HGET', P .. 'later:' .. lane, '') or 0)
end
table.insert(found, waiting)
return found
