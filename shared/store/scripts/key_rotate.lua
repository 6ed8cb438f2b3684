-- Gives an API key another secret; the former one stays valid for a while, earlier ones no longer than they would have.
--   a      id, digest (of the new secret), grace_s, by and max_admin_actions (see admin_actions.lua)
--   writes key:<id> hash, keyof:<digest> string, deeds stream
--   returns the key's fields, a flat list; nil where no such key is in force
--   repeat the same digest changes nothing
-- @include base
-- @include admin_actions
-- @include keyring

if not is_key(a.id) or not in_force(a.id) then
  record('not_found')
  return with_outcome(nil)
end
local key = key_key(a.id)
local current, expires = unpack(redis.call('HMGET', key, 'digest', 'expires'))
if current ~= a.digest then
  local last = math.min(now + a.grace_s * 1000, tonumber(expires or math.huge))
  local ends = formers(a.id)
  ends[current] = last
  -- Where a rotation's answer was lost and it is repeated, the deployed secret is one before the former: it must not end.
  -- A secret that leaked ends with a grace of 0, whichever it was.
  for digest, at in pairs(ends) do
    at = math.min(at, last)
    if at > now then
      redis.call('HSET', key, 'former:' .. digest, at)
      redis.call('PEXPIRE', P .. 'keyof:' .. digest, at - now)
    else
      redis.call('HDEL', key, 'former:' .. digest)
      redis.call('DEL', P .. 'keyof:' .. digest)
    end
  end
  redis.call('SET', P .. 'keyof:' .. a.digest, a.id)
  if expires then
    redis.call('PEXPIRE', P .. 'keyof:' .. a.digest, math.max(expires - now, 1))
  end
  redis.call('HSET', key, 'digest', a.digest, 'former_until', last)
  record('done')
end
return with_outcome(redis.call('HGETALL', key))
