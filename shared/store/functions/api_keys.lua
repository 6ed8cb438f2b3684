-- What operators did: deeds stream {at (Unix ms), action, subject, outcome (done | unchanged | not_found), key,
-- name, address, request}, the newest max_admin_actions of them. `by` {action, subject, key, name, address, request} says
-- who asks for what; without `by` nothing is logged, with it with_outcome() answers {outcome, the function's own answer}.

function ApiKeys.record(outcome)
  memo.outcome = outcome
  if a.by then
    call('XADD', P .. 'deeds', 'MAXLEN', a.max_admin_actions, '*', 'at', now, 'action', a.by.action,
      'subject', a.by.subject, 'outcome', outcome, 'key', a.by.key, 'name', a.by.name,
      'address', a.by.address, 'request', a.by.request)
  end
end

function ApiKeys.with_outcome(answer)
  return a.by and { memo.outcome or 'done', answer } or answer
end

-- Reads a page of what operators did, newest first.
--   a       after (id, absent = from the newest), limit
--   returns {{id, fields}, …}, fields a flat list
transition('admin_actions', { 'no-writes' }, function()
  -- The server refuses a range that ends before the first possible id.
  if a.after and not a.after:find('[1-9]') then return {} end
  return call('XREVRANGE', P .. 'deeds', a.after and '(' .. a.after or '+', '-', 'COUNT', a.limit)
end)

-- Secrets of a hash (an API key, an endpoint): `secret` is the newest; `formers`, a JSON object, those from before rotations,
-- by secret until when (Unix ms) each goes on; former_until the last of these times.

-- The former secrets that still go on.
function ApiKeys.formers_in(json)
  local formers = {}
  for secret, till in pairs(cjson.decode(json or '{}')) do
    if till > now then formers[secret] = till end
  end
  return formers
end

-- Gives a hash another secret. The former one goes on until `last`, earlier ones no longer than they would have: where a
-- rotation's answer was lost and it is repeated, the deployed secret is one before the former. Of more than `most` those
-- that end soonest go. Returns the formers.
function ApiKeys.replace_secret(key, secret, last, most)
  local current, json = unpack(call('HMGET', key, 'secret', 'formers'))
  local ends, formers = { { current, last } }, {}
  for former, till in pairs(ApiKeys.formers_in(json)) do
    table.insert(ends, { former, math.min(till, last) })
  end
  table.sort(ends, function(one, other) return one[2] > other[2] end)
  for at = 1, math.min(#ends, most) do
    formers[ends[at][1]] = ends[at][2]
  end
  call('HSET', key, 'secret', secret, 'formers', cjson.encode(formers), 'former_until', string.format('%.0f', last))
  return formers
end

-- API keys. Of their secrets only the digests are known.
--   key:<id>        hash    id, name, caller, scopes, secret (its digest), created; expires, rate, max_queued, retain_s,
--                           formers, former_until, revoked where it has them; times in Unix ms
--   keyof:<digest>  string  the id of the key with this secret; when it ends the key's hash says
--   keys            zset    ids, by creation
--   rate:<id>       string  requests of the last minute by the second they came in, a JSON object

local function in_force(expires, revoked)
  return not revoked and now < tonumber(expires or math.huge)
end

-- Keeps a new API key.
--   a      id, name, caller, scopes (words), digest (of the secret), expires (Unix ms), rate (requests a minute),
--          max_queued, retain_s (how long what is made with it is kept), kept_s (how long it is listed after its end),
--          by and max_admin_actions (see above)
--   returns the key's fields, a flat list
--   repeat the same id changes nothing
transition('key_create', {}, function()
  local key = P .. 'key:' .. a.id
  if call('EXISTS', key) == 0 then
    local fields = { 'id', a.id, 'name', a.name, 'caller', a.caller, 'scopes', a.scopes, 'secret', a.digest, 'created', now }
    add(fields, 'expires', a.expires)
    add(fields, 'rate', a.rate)
    add(fields, 'max_queued', a.max_queued)
    add(fields, 'retain_s', a.retain_s)
    call('HSET', key, unpack(fields))
    call('SET', P .. 'keyof:' .. a.digest, a.id)
    call('ZADD', P .. 'keys', now, a.id)
    if a.expires then
      local left = math.max(a.expires - now, 1)
      call('PEXPIRE', P .. 'keyof:' .. a.digest, left)
      call('PEXPIRE', key, left + a.kept_s * 1000)
    end
    ApiKeys.record('done')
  end
  return ApiKeys.with_outcome(call('HGETALL', key))
end)

-- Lists the API keys, newest first.
--   a      nothing
--   returns {fields, …}, a flat list each
transition('key_list', { 'allow-oom' }, function()
  local found = {}
  for _, id in ipairs(call('ZREVRANGE', P .. 'keys', 0, -1)) do
    local fields = call('HGETALL', P .. 'key:' .. id)
    if fields[1] then
      table.insert(found, fields)
    else
      call('ZREM', P .. 'keys', id)
    end
  end
  return found
end)

-- The current second and the 59 before it: no 60 successive seconds of the clock see more than the quota, and a refused
-- caller waits 60 s at most, which is the longest Retry-After.
local WINDOW_S = 60

-- Counts a request; returns how many more fit (-1: not even this one), and in how many seconds the oldest leaves the window.
local function count_request(name, rate)
  local second, slots, used = math.floor(now / 1000), {}, 0
  local oldest = second
  for at, requests in pairs(cjson.decode(call('GET', name) or '{}')) do
    -- What was counted before the clock was set back counts as of now, lest a small step back gives the quota twice.
    at = math.min(tonumber(at), second)
    if at > second - WINDOW_S then
      slots[tostring(at)] = (slots[tostring(at)] or 0) + requests
      used, oldest = used + requests, math.min(oldest, at)
    end
  end
  local left = used < rate and rate - used - 1 or -1
  if left >= 0 then slots[tostring(second)] = (slots[tostring(second)] or 0) + 1 end
  call('SET', name, cjson.encode(slots), 'EX', WINDOW_S)
  return left, oldest + WINDOW_S - second
end

-- Looks up the API key of a request, and counts the request where the key has a quota.
--   a      digest (of the secret)
--   returns nil where no key in force has this secret, else {fields, left, reset_s}, both 0 without a quota
--   repeat counts once more
transition('key_use', { 'allow-oom' }, function()
  local id = call('GET', P .. 'keyof:' .. a.digest)
  if not id then return nil end
  local fields, key = call('HGETALL', P .. 'key:' .. id), {}
  for i = 1, #fields, 2 do key[fields[i]] = fields[i + 1] end
  local known = key.secret == a.digest or ApiKeys.formers_in(key.formers)[a.digest]
  if not known or not in_force(key.expires, key.revoked) then return nil end
  if not key.rate then return { fields, 0, 0 } end
  return { fields, count_request(P .. 'rate:' .. id, tonumber(key.rate)) }
end)

-- Gives an API key another secret; the former one stays valid for a while, earlier ones no longer than they would have.
--   a      id, digest (of the new secret), grace_s, most (former secrets in force), by and max_admin_actions (see above)
--   returns the key's fields, a flat list; nil where no such key is in force
--   repeat the same digest changes nothing
transition('key_rotate', {}, function()
  local key = P .. 'key:' .. a.id
  local current, formers, expires, revoked = unpack(call('HMGET', key, 'secret', 'formers', 'expires', 'revoked'))
  if not current or not in_force(expires, revoked) then
    ApiKeys.record('not_found')
    return ApiKeys.with_outcome(nil)
  end
  if current ~= a.digest then
    local ended = cjson.decode(formers or '{}')
    ended[current] = now
    local last = math.min(now + a.grace_s * 1000, tonumber(expires or math.huge))
    for digest, till in pairs(ApiKeys.replace_secret(key, a.digest, last, a.most)) do ended[digest] = till end
    -- Those that nobody may use any more go at once: their time to live is not positive.
    for digest, till in pairs(ended) do
      call('PEXPIRE', P .. 'keyof:' .. digest, till - now)
    end
    call('SET', P .. 'keyof:' .. a.digest, a.id)
    if expires then call('PEXPIRE', P .. 'keyof:' .. a.digest, expires - now) end
    ApiKeys.record('done')
  end
  return ApiKeys.with_outcome(call('HGETALL', key))
end)

-- Ends an API key for good, its former secrets too.
--   a      id, kept_s (how long it is still listed), by and max_admin_actions (see above)
--   returns the key's fields, a flat list; nil where there is no such key
--   repeat harmless
transition('key_revoke', { 'allow-oom' }, function()
  local key = P .. 'key:' .. a.id
  local secret, formers = unpack(call('HMGET', key, 'secret', 'formers'))
  if not secret then
    ApiKeys.record('not_found')
    return ApiKeys.with_outcome(nil)
  end
  for digest in pairs(cjson.decode(formers or '{}')) do
    call('DEL', P .. 'keyof:' .. digest)
  end
  call('DEL', P .. 'keyof:' .. secret, P .. 'rate:' .. a.id)
  local changed = call('HSETNX', key, 'revoked', now) == 1
  if changed then call('EXPIRE', key, a.kept_s) end
  ApiKeys.record(changed and 'done' or 'unchanged')
  return ApiKeys.with_outcome(call('HGETALL', key))
end)
