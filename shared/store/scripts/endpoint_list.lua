-- Lists a caller's endpoints, newest first.
--   a       caller
--   returns {fields, …}, a flat list each
-- @include base
-- @include endpoints

local found = {}
for _, id in ipairs(redis.call('ZREVRANGE', P .. 'endpoints:' .. a.caller, 0, -1)) do
  table.insert(found, shown(id))
end
return found
