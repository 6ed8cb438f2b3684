-- Ends an API key for good, its former secrets too.
--   a      id, kept_s (how long it is still listed), by and max_admin_actions (see admin_actions.lua)
--   writes key:<id> hash, keyof:<digest> string, rate:<id> hash, deeds stream
--   returns the key's fields, a flat list; nil where there is no such key
--   repeat harmless
-- @include base
-- @include admin_actions
-- @include keyring

if not is_key(a.id) then
  record('not_found')
  return with_outcome(nil)
end
local key = key_key(a.id)
dirty_first()
for digest in pairs(formers(a.id)) do
  redis.call('DEL', P .. 'keyof:' .. digest)
end
redis.call('DEL', P .. 'keyof:' .. redis.call('HGET', key, 'digest'), P .. 'rate:' .. a.id)
local changed = redis.call('HSETNX', key, 'revoked', now) == 1
if changed then
  redis.call('EXPIRE', key, a.kept_s)
end
record(changed and 'done' or 'unchanged')
return with_outcome(redis.call('HGETALL', key))
