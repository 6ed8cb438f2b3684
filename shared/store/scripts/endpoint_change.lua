-- Changes an endpoint; what is absent stays. Calls that wait go to its new URL.
--   a      id, caller, url and host, events (words), description, enabled (true | false)
--   writes <id> hash
--   returns its fields, nil where the caller has no such endpoint
--   repeat harmless
-- @include base
-- @include endpoints

if not owns_endpoint(a.caller, a.id) then
  return nil
end
for _, name in ipairs({ 'url', 'host', 'events', 'description' }) do
  if a[name] then
    redis.call('HSET', P .. a.id, name, a[name])
  end
end
if a.enabled then
  redis.call('HDEL', P .. a.id, 'disabled', 'disabled_at')
elseif a.enabled == false then
  disable_endpoint(a.id, 'caller')
end
return shown(a.id)
