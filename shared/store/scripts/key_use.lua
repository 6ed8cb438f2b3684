-- Looks up the API key of a request, and counts the request where the key has a quota.
--   a      digest (of the secret)
--   reads  keyof:<digest> string, key:<id> hash
--   writes rate:<id> hash
--   returns nil where no key in force has this secret, else {fields, left, reset_s}: how many more fit into the
--           window (-1: this one does not) and in how many seconds the oldest in it leaves
--   repeat counts once more
-- @include base
-- @include keyring

-- The current second and the 59 before it: no 60 successive seconds of the clock see more than the quota, and a refused
-- caller waits 60 s at most, which is the longest Retry-After.
local WINDOW_S = 60

local function count(id, rate)
  local name, second = P .. 'rate:' .. id, math.floor(now / 1000)
  local slots, used, oldest = redis.call('HGETALL', name), 0, second
  dirty_first()
  for i = 1, #slots, 2 do
    local at = tonumber(slots[i])
    if at <= second - WINDOW_S or at > second then
      redis.call('HDEL', name, slots[i])
    end
    if at > second then
      -- Counted before the clock was set back: counts as of now, lest a small step back gives the quota twice.
      redis.call('HINCRBY', name, string.format('%.0f', second), slots[i + 1])
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
  redis.call('HINCRBY', name, string.format('%.0f', second), 1)
  redis.call('EXPIRE', name, WINDOW_S)
  return rate - used - 1, reset_s
end

local id = redis.call('GET', P .. 'keyof:' .. a.digest)
if not id or not in_force(id) then
  return nil
end
local former_until, rate = unpack(redis.call('HMGET', key_key(id), 'former:' .. a.digest, 'rate'))
if former_until and now >= tonumber(former_until) then
  return nil
end
local left, reset_s = 0, 0
if rate then
  left, reset_s = count(id, tonumber(rate))
end
return { redis.call('HGETALL', key_key(id)), left, reset_s }
