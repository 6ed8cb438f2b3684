-- The requests of an API key in the last minute: counted, and refused beyond its quota.

-- The current second and the 59 before it: no 60 successive seconds of the clock see more than the quota, and a refused
-- caller waits 60 s at most, which is the longest Retry-After.
local WINDOW_S = 60

-- The second at which a refused request may come again: when a counted one leaves the window, which makes room for one
-- answer only. The key's field `told` counts these answers by second.
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

-- Counts a request of a key, its hash as a table. Returns how many more fit (-1: not even this one), and in how many
-- seconds the oldest leaves the window, or a refused one may come again.
function RateLimit.count(id, key)
  local second, slots, used = math.floor(now / 1000), {}, 0
  local oldest, quota = second, tonumber(key.requests_per_minute)
  for at, requests in pairs(cjson.decode(key.rate or '{}')) do
    at = tonumber(at)
    if at > second - WINDOW_S then
      slots[tostring(at)] = (slots[tostring(at)] or 0) + requests
      used, oldest = used + requests, math.min(oldest, at)
    end
  end
  local left = used < quota and quota - used - 1 or -1
  if left >= 0 then slots[tostring(second)] = (slots[tostring(second)] or 0) + 1 end
  call('HSET', P .. id, 'rate', cjson.encode(slots), 'last_seen_ms', now)
  local reset = left < 0 and come_again(id, key, slots, second) or oldest + WINDOW_S
  return left, reset - second
end
