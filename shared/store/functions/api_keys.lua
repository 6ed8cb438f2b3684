-- API keys are plain records (records.lua) of no caller. Of their secrets only the digests are known.
--   <id> (key_…)    hash    what the class ApiKey has, secret (its digest), formers; of its default webhook hook_url,
--                           hook_host, hook_events, hook_secret, hook_formers; of a key with a quota, JSON objects by
--                           second: rate (the last minute's requests), told (how many may come again then)
--   keyof:<digest>  string  the id of the key with this secret; when it ends the key's hash says

-- Lets an API key be found by a secret until then, or for ever.
function ApiKeys.index(id, digest, till)
  call('SET', P .. 'keyof:' .. digest, id)
  if till then
    -- What may be used no longer goes at once: its time to live is not positive.
    call('PEXPIRE', P .. 'keyof:' .. digest, till - now)
  end
end

-- Sets the default webhook of an API key in force: `fields`, a flat list. Its webhooks are signed by `secret`, unless
-- they have one. Returns the key's fields, nil where there is none in force.
transition('key_webhook', {}, function()
  local id, expires, revoked = Records.owned('keys', '', a.id, 'id', 'expires_ms', 'revoked_ms')
  if not id or revoked or now >= tonumber(expires or math.huge) then
    return nil
  end
  call('HSETNX', P .. a.id, 'hook_secret', a.secret)
  call('HSET', P .. a.id, unpack(a.fields))
  return Records.fields(a.id)
end)

-- Ends an API key for good, its former secrets and its default webhook too; it is listed for kept_s more. Returns its
-- fields, nil where there is none.
transition('key_revoke', { 'allow-oom' }, function()
  local secret, formers = Records.owned('keys', '', a.id, 'secret', 'formers')
  if not secret then
    return nil
  end
  for digest in pairs(cjson.decode(formers or '{}')) do
    call('DEL', P .. 'keyof:' .. digest)
  end
  call('DEL', P .. 'keyof:' .. secret)
  call('HDEL', P .. a.id, 'hook_url', 'hook_host', 'hook_events', 'hook_secret', 'hook_formers', 'hook_former_until_ms')
  if call('HSETNX', P .. a.id, 'revoked_ms', now) == 1 then
    call('EXPIRE', P .. a.id, a.kept_s)
  end
  return Records.fields(a.id)
end)

-- What is not counted costs one write in so long.
local SEEN_MS = 60000

-- Looks up the API key of a request by its secret's digest, and counts the request if the key has a quota and it does not only read
-- (`reads`); a repeat is counted once more. Returns {fields, left, reset_s}, both 0 if it was not counted, nil if no key in force has
-- this secret.
transition('key_use', { 'allow-oom' }, function()
  local id = call('GET', P .. 'keyof:' .. a.digest)
  if not id then return nil end
  local fields = Records.fields(id)
  local key = by_name(fields)
  local known = key.secret == a.digest or Records.formers(key.formers)[a.digest]
  if not known or key.revoked_ms or now >= tonumber(key.expires_ms or math.huge) then
    return nil
  elseif key.requests_per_minute and not a.reads then
    return { fields, RateLimit.count(id, key) }
  end
  if now >= (key.last_seen_ms or 0) + SEEN_MS then
    call('HSET', P .. id, 'last_seen_ms', now)
  end
  return { fields, 0, 0 }
end)
