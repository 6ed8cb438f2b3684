-- Takes the next call of a webhook that is due, under a lease: callers take turns, and so do the hosts of each.
-- Hosts with enough calls under way are passed over, and the last threads of a courier are reserved for callers without
-- a call under way: when one caller's receivers hang, the others' calls are still made.
--   a      token, lease_ms, per_host (calls at once to one host of a caller), room (threads of this courier that are free,
--          this one included), reserved (threads for callers without a call), event_s, max_events
--   writes calls:<caller>:<host>, calling:<caller>:<host>, busy:<caller>, hosts:<caller> and callers zsets, <call>
--          hash, claim:<token> string; forgets calls of what is gone or disabled
--   returns {id, url, secrets, tries, notice (a flat list)}, nil where nothing is due; all secrets sign; without any
--           the service's own does
--   repeat with the same token (a lost reply) answers the same call
-- @include base
-- @include notices

-- Callers, hosts, and strays of one host, that are looked at. Callers who are passed over have calls under way, so no
-- more of them stand before the others than all couriers have threads.
local LIMIT = 200
local CLAIM_MS = 60000

-- The notice and the target of a call.
local function parts_of(call)
  return string.match(call, '^(.+):([^:]+)$')
end

-- The job's own webhook, or the endpoint, as {url, secrets}; nil where it is gone, or disabled and not asked for.
local function receiver_of(call)
  local notice, target = parts_of(call)
  if target == 'own' then
    local url, secret = unpack(redis.call('HMGET', P .. string.match(notice, '^[^:]+') .. ':hook', 'url', 'secret'))
    return url and { url, secret and { secret } or {} }
  end
  local url, secret, disabled = unpack(redis.call('HMGET', P .. target, 'url', 'secret', 'disabled'))
  if not url or disabled and redis.call('HEXISTS', P .. call, 'asked') == 0 then
    return nil
  end
  local secrets = { secret }
  for former in pairs(formers_of(target)) do
    table.insert(secrets, former)
  end
  return { url, secrets }
end

local function given(call)
  local url, secrets = unpack(receiver_of(call) or {})
  local tries, notice = redis.call('HGET', P .. call, 'tries'), parts_of(call)
  return url and { call, url, secrets, tries, redis.call('HGETALL', P .. notice) } or nil
end

local function set_time(key, member, at)
  if at == math.huge then
    redis.call('ZREM', key, member)
  else
    redis.call('ZADD', key, string.format('%.0f', at), member)
  end
end

-- The time of the first in a line.
local function first_time(key)
  return tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] or math.huge)
end

-- Puts calls back in line whose courier did not report within its lease.
local function take_back(caller)
  for _, call in ipairs(redis.call('ZRANGEBYSCORE', P .. 'busy:' .. caller, '-inf', now, 'LIMIT', 0, LIMIT)) do
    local _, host = place_of(call)
    redis.call('ZREM', P .. 'busy:' .. caller, call)
    if host then
      hang_up(call, caller, host)
      await_turn(call, caller, host, now)
      redis.call('ZADD', P .. 'hosts:' .. caller, 'LT', now, host)
    end
  end
end

-- The first call of a host that is due and still to be made; others are forgotten.
local function first_due(caller, host)
  local line = P .. 'calls:' .. caller .. ':' .. host
  for _, call in ipairs(redis.call('ZRANGEBYSCORE', line, '-inf', now, 'LIMIT', 0, LIMIT)) do
    local notice = parts_of(call)
    redis.call('ZREM', line, call)
    if redis.call('EXISTS', P .. call, P .. notice) == 2 and receiver_of(call) then
      return call
    end
    redis.call('DEL', P .. call)
    keep_notice(notice)
  end
end

local function lease(call, caller, host)
  redis.call('HSET', P .. call, 'token', a.token, 'since', now)
  redis.call('ZADD', P .. 'calling:' .. caller .. ':' .. host, now + a.lease_ms, call)
  redis.call('ZADD', P .. 'busy:' .. caller, now + a.lease_ms, call)
  redis.call('SET', P .. 'claim:' .. a.token, call, 'PX', CLAIM_MS)
end

-- Notes when a host next needs a look. A host that had its turn stands behind those that wait for theirs.
local function look_later_at(caller, host)
  local calling = P .. 'calling:' .. caller .. ':' .. host
  local at = first_time(calling)
  if redis.call('ZCARD', calling) < a.per_host then
    at = math.min(at, math.max(first_time(P .. 'calls:' .. caller .. ':' .. host), now))
  end
  set_time(P .. 'hosts:' .. caller, host, at)
end

-- The next call of a caller, under its lease.
local function next_of(caller)
  for _, host in ipairs(redis.call('ZRANGEBYSCORE', P .. 'hosts:' .. caller, '-inf', now, 'LIMIT', 0, LIMIT)) do
    local full = redis.call('ZCARD', P .. 'calling:' .. caller .. ':' .. host) >= a.per_host
    local call = not full and first_due(caller, host)
    if call then
      lease(call, caller, host)
    end
    look_later_at(caller, host)
    if call then
      return call
    end
  end
end

-- Callers who may have a call due now: fewest calls under way first, then the longest without a turn.
local function callers_due()
  local found, under_way, place = {}, {}, {}
  for at, caller in ipairs(redis.call('ZRANGEBYSCORE', P .. 'callers', '-inf', now, 'LIMIT', 0, LIMIT)) do
    under_way[caller] = redis.call('ZCOUNT', P .. 'busy:' .. caller, '(' .. now, '+inf')
    place[caller] = at
    if under_way[caller] == 0 or a.room > a.reserved then
      table.insert(found, caller)
    end
  end
  table.sort(found, function(one, other)
    if under_way[one] ~= under_way[other] then
      return under_way[one] < under_way[other]
    end
    return place[one] < place[other]
  end)
  return found
end

local again = redis.call('GET', P .. 'claim:' .. a.token)
if again then
  return redis.call('HGET', P .. again, 'token') == a.token and given(again) or nil
end
dirty_first()
for _, caller in ipairs(callers_due()) do
  take_back(caller)
  local call = next_of(caller)
  -- The end of a lease needs a look as well.
  local at = math.min(first_time(P .. 'hosts:' .. caller), first_time(P .. 'busy:' .. caller))
  set_time(P .. 'callers', caller, math.max(at, now))
  if call then
    return given(call)
  end
end
return nil
