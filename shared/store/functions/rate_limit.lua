-- The requests of an API key in the last minute: counted, and refused beyond its quota.

-- The current second and the 59 before it: no 60 successive seconds of the clock see more than the quota, and a refused
-- caller waits 60 s at most, which is the longest Retry-After.
local WINDOW_S = 60

-- Counts a request of a key, its hash as a table. Returns how many more fit (-1: not even this one), and in how many
-- seconds the oldest leaves the window.
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
  return left, oldest + WINDOW_S - second
end
