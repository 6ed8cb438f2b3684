-- Lists the API keys, newest first.
--   a      nothing
--   writes keys zset (names whose records are gone)
--   returns {fields, …}, a flat list each
-- @include base
-- @include keyring

local found = {}
for _, id in ipairs(redis.call('ZREVRANGE', P .. 'keys', 0, -1)) do
  if is_key(id) then
    table.insert(found, redis.call('HGETALL', key_key(id)))
  else
    redis.call('ZREM', P .. 'keys', id)
  end
end
return found
