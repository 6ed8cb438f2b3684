-- Keeps a new API key.
--   a      id, name, caller, scopes (words), digest (of the secret), expires (Unix ms), rate (requests a minute),
--          max_queued, retain_s (how long what is made with it is kept), kept_s (how long it is listed after its end),
--          by and max_admin_actions (see admin_actions.lua)
--   writes key:<id> hash, keyof:<digest> string, keys zset, deeds stream
--   returns the key's fields, a flat list
--   repeat the same id changes nothing
-- @include base
-- @include admin_actions
-- @include keyring

if not is_key(a.id) then
  redis.call('HSET', key_key(a.id), 'id', a.id, 'name', a.name, 'caller', a.caller, 'scopes', a.scopes,
    'digest', a.digest, 'created', now)
  for _, name in ipairs({ 'expires', 'rate', 'max_queued', 'retain_s' }) do
    if a[name] then
      redis.call('HSET', key_key(a.id), name, a[name])
    end
  end
  redis.call('SET', P .. 'keyof:' .. a.digest, a.id)
  redis.call('ZADD', P .. 'keys', now, a.id)
  if a.expires then
    local left = math.max(a.expires - now, 1)
    redis.call('PEXPIRE', P .. 'keyof:' .. a.digest, left)
    redis.call('PEXPIRE', key_key(a.id), left + a.kept_s * 1000)
  end
  record('done')
end
return with_outcome(redis.call('HGETALL', key_key(a.id)))
