-- API keys are plain records (records.lua) of no caller. Only the digests of their secrets are stored.
--   <id> (key_…)    hash    what the class ApiKey has, secret (its digest), formers; of its default webhook hook_url,
--                           hook_host, hook_events, hook_secret, hook_formers; of a key with a quota, a JSON object:
--                           rate (the last minute's requests by second)
--   keyof:<digest>  string  the id of the key with this secret
-- `secret` is a key's newest; `formers`, a JSON object, are earlier ones, by secret until when each is valid;
-- former_until_ms is the last of these times. The names with `hook_` are of the secrets that sign its webhooks.

-- The fields of a default webhook.
local HOOK = { 'hook_url', 'hook_host', 'hook_events', 'hook_secret', 'hook_formers', 'hook_former_until_ms' }

-- Lets a key be found by a secret until then, or for ever.
local function index(id, digest, till)
  call('SET', P .. 'keyof:' .. digest, id)
  if till then
    -- A secret that has ended goes at once: its time to live is not positive.
    call('PEXPIRE', P .. 'keyof:' .. digest, till - now)
  end
end

-- Whether some fields of a key are those of a key in force.
function ApiKeys.is_in_force(key)
  return not key.revoked_ms and now < tonumber(key.expires_ms or math.huge)
end

-- The former secrets that are still valid.
function ApiKeys.formers(json)
  local formers = {}
  for secret, till in pairs(decoded(json or '') or {}) do
    formers[secret] = till > now and till or nil
  end
  return formers
end

-- Begins a key with `fields`, a flat list; it is listed for kept_s after its end. Returns the fields. Safe to repeat.
transition('key_create', {}, function()
  if call('EXISTS', P .. a.id) == 0 then
    Records.create('keys', '', a.id, a.fields)
    index(a.id, a.secret, a.expires_ms)
    if a.expires_ms then
      call('PEXPIRE', P .. a.id, a.expires_ms - now + a.kept_s * 1000)
    end
  end
  return Records.fields(a.id)
end)

-- Gives a key in force another secret; `prefix`: `hook_` for its webhooks' secret, or ''. The former one stays valid
-- for grace_s, earlier ones no longer than before: if a lost rotation is repeated, the deployed secret is one before
-- the former. Beyond `most` those that end soonest go. Returns the fields, nil if there is none. Safe to repeat.
transition('key_rotate', { 'allow-oom' }, function()
  local p, own = a.prefix, a.prefix == ''
  local key = Records.owned('keys', '', a.id, p .. 'secret', p .. 'formers', 'expires_ms', 'revoked_ms')
  local current = key and ApiKeys.is_in_force(key) and key[p .. 'secret']
  if not current then
    return nil
  elseif current ~= a.secret then
    local last, formers = math.min(now + a.grace_s * 1000, tonumber(key.expires_ms or math.huge)), {}
    local ends = { { current, last } }
    for former, till in pairs(ApiKeys.formers(key[p .. 'formers'])) do
      table.insert(ends, { former, math.min(till, last) })
    end
    table.sort(ends, function(one, other) return one[2] > other[2] end)
    for at, former in ipairs(ends) do
      formers[former[1]] = at <= a.most and former[2] or nil
      if own then
        index(a.id, former[1], formers[former[1]] or now)
      end
    end
    local json = cjson.encode(formers)
    call('HSET', P .. a.id, p .. 'secret', a.secret, p .. 'formers', json, p .. 'former_until_ms', last)
    if own then
      index(a.id, a.secret, key.expires_ms)
    end
  end
  return Records.fields(a.id)
end)

-- Sets the default webhook of a key in force: `fields`, a flat list. `secret` signs its webhooks, unless they have one.
-- Returns the key's fields, nil if there is none in force.
transition('key_webhook', {}, function()
  local key = Records.owned('keys', '', a.id, 'expires_ms', 'revoked_ms')
  if not (key and ApiKeys.is_in_force(key)) then
    return nil
  end
  call('HSETNX', P .. a.id, 'hook_secret', a.secret)
  call('HSET', P .. a.id, unpack(a.fields))
  return Records.fields(a.id)
end)

-- Ends a key's default webhook and its secrets. Returns the key's fields, nil if there is none.
transition('key_unhook', { 'allow-oom' }, function()
  if Records.owned('keys', '', a.id) then
    call('HDEL', P .. a.id, unpack(HOOK))
    return Records.fields(a.id)
  end
end)

-- Ends a key with its former secrets and its default webhook; it is listed for kept_s more. Returns its fields, if any.
transition('key_revoke', { 'allow-oom' }, function()
  local key = Records.owned('keys', '', a.id, 'secret', 'formers')
  if not (key and key.secret) then
    return nil
  end
  for digest in pairs(cjson.decode(key.formers or '{}')) do
    call('DEL', P .. 'keyof:' .. digest)
  end
  call('DEL', P .. 'keyof:' .. key.secret)
  call('HDEL', P .. a.id, unpack(HOOK))
  if call('HSETNX', P .. a.id, 'revoked_ms', now) == 1 then
    call('EXPIRE', P .. a.id, a.kept_s)
  end
  return Records.fields(a.id)
end)

local SEEN_MS = 60000 -- ms between two notes of requests that are not counted

-- Looks up a request's key by its secret's digest, and counts the request if the key has a quota, unless it only
-- `reads`; a repeat counts, too. Returns {fields, left, reset_s}, both 0 if it was not counted, nil if no key in force
-- matches.
transition('key_use', { 'allow-oom' }, function()
  local id = call('GET', P .. 'keyof:' .. a.digest)
  if not id then
    return nil
  end
  local fields = Records.fields(id)
  local key = by_name(fields)
  local known = key.secret == a.digest or ApiKeys.formers(key.formers)[a.digest]
  if not (known and ApiKeys.is_in_force(key)) then
    return nil
  elseif key.requests_per_minute and not a.reads then
    return { fields, RateLimit.count(id, key) }
  end
  if now >= (key.last_seen_ms or 0) + SEEN_MS then
    call('HSET', P .. id, 'last_seen_ms', now)
  end
  return { fields, 0, 0 }
end)
