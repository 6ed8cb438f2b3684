-- What operators did: deeds stream {at (Unix ms), action, subject, outcome (done | unchanged | not_found), key,
-- name, address, request}, the newest max_admin_actions of them. `by` {action, subject, key, name, address, request} says
-- who asks for what; without `by` nothing is logged, with it with_outcome() answers {outcome, the function's own answer}.

function ApiKeys.record(said)
  memo.outcome = said
  if a.by then
    call('XADD', P .. 'deeds', 'MAXLEN', a.max_admin_actions, '*', 'at', now, 'action', a.by.action,
      'subject', a.by.subject, 'outcome', memo.outcome, 'key', a.by.key, 'name', a.by.name,
      'address', a.by.address, 'request', a.by.request)
  end
end

function ApiKeys.with_outcome(answer)
  return a.by and { memo.outcome or 'done', answer } or answer
end

-- API keys. Of their secrets only the digests are known.
--   key:<id>        hash    id, name, caller, scopes, digest, created; expires, rate, max_queued, retain_s,
--                           former_until (the last of them), revoked where it has them; former:<digest> = until
--                           when a secret from before a rotation goes on; times in Unix ms
--   keyof:<digest>  string  the id of the key in force with this secret
--   keys            zset    ids, by creation
--   rate:<id>       hash    requests of the last minute, by the second they came in

local function key_key(id)
  return P .. 'key:' .. id
end

-- Whether there is such a key. The id may be anything that was typed.
local function is_key(id)
  return string.find(id, '^key_%x+$') and call('EXISTS', key_key(id)) == 1
end

-- Whether a key was neither revoked nor has expired.
local function in_force(id)
  local expires, revoked = unpack(call('HMGET', key_key(id), 'expires', 'revoked'))
  return not revoked and now < tonumber(expires or math.huge)
end

-- The former secrets in their grace time: ends by digests.
local function formers(id)
  local fields, found = call('HGETALL', key_key(id)), {}
  for i = 1, #fields, 2 do
    local digest = string.match(fields[i], '^former:(.+)$')
    if digest then
      found[digest] = tonumber(fields[i + 1])
    end
  end
  return found
end

-- Reads a page of what operators did, newest first.
--   a       after (id, absent = from the newest), limit
--   returns {{id, fields}, …}, fields a flat list
transition('admin_actions', { 'no-writes' }, function()
  -- The server refuses a range that ends before the first possible id.
  if a.after and not a.after:find('[1-9]') then return {} end
  return call('XREVRANGE', P .. 'deeds', a.after and '(' .. a.after or '+', '-', 'COUNT', a.limit)
end)

-- Keeps a new API key.
--   a      id, name, caller, scopes (words), digest (of the secret), expires (Unix ms), rate (requests a minute),
--          max_queued, retain_s (how long what is made with it is kept), kept_s (how long it is listed after its end),
--          by and max_admin_actions (see above)
--   writes key:<id> hash, keyof:<digest> string, keys zset, deeds stream
--   returns the key's fields, a flat list
--   repeat the same id changes nothing
transition('key_create', {}, function()
  if not is_key(a.id) then
    call('HSET', key_key(a.id), 'id', a.id, 'name', a.name, 'caller', a.caller, 'scopes', a.scopes,
      'digest', a.digest, 'created', now)
    for _, name in ipairs({ 'expires', 'rate', 'max_queued', 'retain_s' }) do
      if a[name] then
        call('HSET', key_key(a.id), name, a[name])
      end
    end
    call('SET', P .. 'keyof:' .. a.digest, a.id)
    call('ZADD', P .. 'keys', now, a.id)
    if a.expires then
      local left = math.max(a.expires - now, 1)
      call('PEXPIRE', P .. 'keyof:' .. a.digest, left)
      call('PEXPIRE', key_key(a.id), left + a.kept_s * 1000)
    end
    ApiKeys.record('done')
  end
  return ApiKeys.with_outcome(call('HGETALL', key_key(a.id)))
end)

-- Lists the API keys, newest first.
--   a      nothing
--   writes keys zset (names whose records are gone)
--   returns {fields, …}, a flat list each
transition('key_list', { 'allow-oom' }, function()
  local found = {}
  for _, id in ipairs(call('ZREVRANGE', P .. 'keys', 0, -1)) do
    if is_key(id) then
      table.insert(found, call('HGETALL', key_key(id)))
    else
      call('ZREM', P .. 'keys', id)
    end
  end
  return found
end)

-- The current second and the 59 before it: no 60 successive seconds of the clock see more than the quota, and a refused
-- caller waits 60 s at most, which is the longest Retry-After.
local WINDOW_S = 60

-- Looks up the API key of a request, and counts the request where the key has a quota.
--   a      digest (of the secret)
--   reads  keyof:<digest> string, key:<id> hash
--   writes rate:<id> hash
--   returns nil where no key in force has this secret, else {fields, left, reset_s}: how many more fit into the
--           window (-1: this one does not) and in how many seconds the oldest in it leaves
--   repeat counts once more
transition('key_use', { 'allow-oom' }, function()
  local function count(id, rate)
    local name, second = P .. 'rate:' .. id, math.floor(now / 1000)
    local slots, used, oldest = call('HGETALL', name), 0, second
    for i = 1, #slots, 2 do
      local at = tonumber(slots[i])
      if at <= second - WINDOW_S or at > second then
        call('HDEL', name, slots[i])
      end
      if at > second then
        -- Counted before the clock was set back: counts as of now, lest a small step back gives the quota twice.
        call('HINCRBY', name, string.format('%.0f', second), slots[i + 1])
        at = second
      end
      if at > second - WINDOW_S then
        used = used + slots[i + 1]
        oldest = math.min(oldest, at)
      end
    end
    local reset_s = oldest + WINDOW_S - second
    if used >= rate then
      return -1, reset_s
    end
    call('HINCRBY', name, string.format('%.0f', second), 1)
    call('EXPIRE', name, WINDOW_S)
    return rate - used - 1, reset_s
  end

  local id = call('GET', P .. 'keyof:' .. a.digest)
  if not id or not in_force(id) then
    return nil
  end
  local former_until, rate = unpack(call('HMGET', key_key(id), 'former:' .. a.digest, 'rate'))
  if former_until and now >= tonumber(former_until) then
    return nil
  end
  local left, reset_s = 0, 0
  if rate then
    left, reset_s = count(id, tonumber(rate))
  end
  return { call('HGETALL', key_key(id)), left, reset_s }
end)

-- Gives an API key another secret; the former one stays valid for a while, earlier ones no longer than they would have.
--   a      id, digest (of the new secret), grace_s, by and max_admin_actions (see above)
--   writes key:<id> hash, keyof:<digest> string, deeds stream
--   returns the key's fields, a flat list; nil where no such key is in force
--   repeat the same digest changes nothing
transition('key_rotate', {}, function()
  if not is_key(a.id) or not in_force(a.id) then
    ApiKeys.record('not_found')
    return ApiKeys.with_outcome(nil)
  end
  local key = key_key(a.id)
  local current, expires = unpack(call('HMGET', key, 'digest', 'expires'))
  if current ~= a.digest then
    local last = math.min(now + a.grace_s * 1000, tonumber(expires or math.huge))
    local ends = formers(a.id)
    ends[current] = last
    -- Where a rotation's answer was lost and it is repeated, the deployed secret is one before the former: it must not end.
    -- A secret that leaked ends with a grace of 0, whichever it was.
    for digest, at in pairs(ends) do
      at = math.min(at, last)
      if at > now then
        call('HSET', key, 'former:' .. digest, at)
        call('PEXPIRE', P .. 'keyof:' .. digest, at - now)
      else
        call('HDEL', key, 'former:' .. digest)
        call('DEL', P .. 'keyof:' .. digest)
      end
    end
    call('SET', P .. 'keyof:' .. a.digest, a.id)
    if expires then
      call('PEXPIRE', P .. 'keyof:' .. a.digest, math.max(expires - now, 1))
    end
    call('HSET', key, 'digest', a.digest, 'former_until', last)
    ApiKeys.record('done')
  end
  return ApiKeys.with_outcome(call('HGETALL', key))
end)

-- Ends an API key for good, its former secrets too.
--   a      id, kept_s (how long it is still listed), by and max_admin_actions (see above)
--   writes key:<id> hash, keyof:<digest> string, rate:<id> hash, deeds stream
--   returns the key's fields, a flat list; nil where there is no such key
--   repeat harmless
transition('key_revoke', { 'allow-oom' }, function()
  if not is_key(a.id) then
    ApiKeys.record('not_found')
    return ApiKeys.with_outcome(nil)
  end
  local key = key_key(a.id)
  for digest in pairs(formers(a.id)) do
    call('DEL', P .. 'keyof:' .. digest)
  end
  call('DEL', P .. 'keyof:' .. call('HGET', key, 'digest'), P .. 'rate:' .. a.id)
  local changed = call('HSETNX', key, 'revoked', now) == 1
  if changed then
    call('EXPIRE', key, a.kept_s)
  end
  ApiKeys.record(changed and 'done' or 'unchanged')
  return ApiKeys.with_outcome(call('HGETALL', key))
end)
