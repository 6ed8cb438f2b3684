-- What operators did: deeds stream {at_ms, outcome (done | unchanged | not_found), action, subject, key, name, address,
-- request}, the newest max_admin_actions of them. `by`, a flat list from action on, says who asks for what, `operator` by name.

-- A function's answer, with the outcome where it is logged: unless this is a repeat.
function ApiKeys.logged(outcome, answer, repeated)
  if not a.by then
    return answer
  elseif not repeated then
    call('XADD', P .. 'deeds', 'MAXLEN', a.max_admin_actions, '*', 'at_ms', now, 'outcome', outcome, unpack(a.by))
  end
  return { outcome, answer }
end

-- API keys are plain records (records.lua) of no caller. Of their secrets only the digests are known.
--   <id> (key_…)    hash    what the class ApiKey has, secret (its digest), formers; of a key with a quota, JSON objects by
--                           second: rate (the last minute's requests), told (how many may come again then)
--   keyof:<digest>  string  the id of the key with this secret; when it ends the key's hash says

-- Lets an API key be found by a secret until then, or for ever; endpoints are not found by theirs.
function ApiKeys.index(id, digest, till)
  if string.find(id, '^key_') then
    call('SET', P .. 'keyof:' .. digest, id)
    if till then
      -- What may be used no longer goes at once: its time to live is not positive.
      call('PEXPIRE', P .. 'keyof:' .. digest, till - now)
    end
  end
end

-- Ends an API key for good, its former secrets too; it is listed for kept_s more. Returns its fields, nil where there is none.
transition('key_revoke', { 'allow-oom' }, function()
  local secret, formers = Records.owned('keys', '', a.id, 'secret', 'formers')
  if not secret then
    return ApiKeys.logged('not_found')
  end
  for digest in pairs(cjson.decode(formers or '{}')) do
    call('DEL', P .. 'keyof:' .. digest)
  end
  call('DEL', P .. 'keyof:' .. secret)
  local changed = call('HSETNX', P .. a.id, 'revoked_ms', now) == 1
  if changed then
    call('EXPIRE', P .. a.id, a.kept_s)
  end
  return ApiKeys.logged(changed and 'done' or 'unchanged', Records.fields(a.id))
end)

-- The current second and the 59 before it: no 60 successive seconds of the clock see more than the quota, and a refused
-- caller waits 60 s at most, which is the longest Retry-After.
local WINDOW_S = 60

-- The second at which a refused request may come again: when one that was counted leaves the window, but of each only once, so
-- that those who come back as told all fit. `key.told` counts who was told which.
local function come_again(id, key, slots, second)
  local told, counted, again = {}, {}, nil
  for at, requests in pairs(cjson.decode(key.told or '{}')) do
    told[at] = tonumber(at) > second and requests or nil
  end
  for at in pairs(slots) do
    table.insert(counted, tonumber(at))
  end
  table.sort(counted)
  for _, at in ipairs(counted) do
    again = tostring(at + WINDOW_S)
    if (told[again] or 0) < slots[tostring(at)] then
      told[again] = (told[again] or 0) + 1
      break
    end
  end
  call('HSET', P .. id, 'told', cjson.encode(told))
  return tonumber(again)
end

-- Counts a request of a key, its hash as a table; returns how many more fit (-1: not even this one), and in how many seconds the
-- oldest leaves the window, or a refused one may come again.
local function count_request(id, key)
  local second, slots, used = math.floor(now / 1000), {}, 0
  local oldest, rate = second, tonumber(key.requests_per_minute)
  for at, requests in pairs(cjson.decode(key.rate or '{}')) do
    at = tonumber(at)
    if at > second - WINDOW_S then
      slots[tostring(at)] = (slots[tostring(at)] or 0) + requests
      used, oldest = used + requests, math.min(oldest, at)
    end
  end
  local left = used < rate and rate - used - 1 or -1
  if left >= 0 then slots[tostring(second)] = (slots[tostring(second)] or 0) + 1 end
  call('HSET', P .. id, 'rate', cjson.encode(slots), 'last_seen_ms', now)
  local reset = left < 0 and come_again(id, key, slots, second) or oldest + WINDOW_S
  return left, reset - second
end

-- Looks up the API key of a request by its secret's digest, and counts the request where the key has a quota, a repeat once
-- more. Returns {fields, left, reset_s}, both 0 without a quota, nil where no key in force has this secret.
transition('key_use', { 'allow-oom' }, function()
  local id = call('GET', P .. 'keyof:' .. a.digest)
  if not id then return nil end
  local fields = Records.fields(id)
  local key = by_name(fields)
  local known = key.secret == a.digest or Records.formers(key.formers)[a.digest]
  if not known or key.revoked_ms or now >= tonumber(key.expires_ms or math.huge) then
    return nil
  elseif key.requests_per_minute then
    return { fields, count_request(id, key) }
  end
  -- Not at each look-up: what is not counted costs a write a minute.
  if now >= (key.last_seen_ms or 0) + 1000 * WINDOW_S then
    call('HSET', P .. id, 'last_seen_ms', now)
  end
  return { fields, 0, 0 }
end)
