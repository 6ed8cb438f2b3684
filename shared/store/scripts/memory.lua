-- Reads how much memory the server uses, how much it may, and whether it may evict records.
--   a      nothing
--   returns {used, limit, evicts}: as in includes/server_memory.lua
-- @include base
-- @include server_memory

return server_memory()
