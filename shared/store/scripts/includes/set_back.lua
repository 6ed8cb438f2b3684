-- The store's clock was set back: whatever waits for a moment by the former clock would wait for all that time again.
-- From now on each wait is to take its own length, no longer and no shorter: moments that the right clock wrote, before
-- it was put forward for a while, stay.
-- @include pauses

-- The longest turn of a process at a batch (batches.py).
local LONGEST_TURN_MS = 10000

-- Moments of runs that are looked at, and as many of calls; then others have their turn at the store. The latest come
-- first; the rest waits by the former clock.
local LOOKS = 10000
local looks_left = LOOKS

-- Moves members that lie ahead of now in a zset of moments, up to `till`, to the moment `latest`(member, moment).
local function bring_forward(key, latest, till)
  local ahead = redis.call('ZREVRANGEBYSCORE', key, till or '+inf', '(' .. now, 'WITHSCORES', 'LIMIT', 0, looks_left)
  looks_left = math.max(looks_left - 1 - #ahead / 2, 0)
  for i = 1, #ahead, 2 do
    local at = math.max(latest(ahead[i], tonumber(ahead[i + 1])), now)
    if at < tonumber(ahead[i + 1]) then
      redis.call('ZADD', key, string.format('%.0f', at), ahead[i])
    end
  end
end

-- By how much a moment written at `since` is too late; without `since` it counts as written at the last mark.
local function too_late(since, by)
  return math.max((tonumber(since) or now + by) - now, 0)
end

local function bring_calls_forward(by)
  local function own(call, at)
    return at - too_late(redis.call('HGET', P .. call, 'since'), by)
  end
  -- For hosts and callers too early is harmless.
  local function early(_, at)
    return at - by
  end
  for _, caller in ipairs(redis.call('ZRANGE', P .. 'callers', 0, looks_left)) do
    for _, host in ipairs(redis.call('ZRANGE', P .. 'hosts:' .. caller, 0, looks_left)) do
      bring_forward(P .. 'calls:' .. caller .. ':' .. host, own)
      bring_forward(P .. 'calling:' .. caller .. ':' .. host, own)
    end
    bring_forward(P .. 'busy:' .. caller, own)
    bring_forward(P .. 'hosts:' .. caller, early)
  end
  bring_forward(P .. 'callers', early)
end

-- Brings runs between two attempts forward. Times that a caller named (schedule_at, start_by, finish_by) go by the
-- clock, whatever it says.
local function bring_attempts_forward(by)
  bring_forward(P .. 'schedule', function(id, at)
    local state, since = unpack(redis.call('HMGET', P .. id, 'state', 'queued_at'))
    return state == 'retrying' and at - too_late(since, by) or at
  end, now + by + LONGEST_PAUSE_MS)
end

-- A time to live ends by the clock, too.
local function shorten(key, ms)
  if redis.call('PTTL', key) > ms then
    redis.call('PEXPIRE', key, ms)
  end
end

-- Workers go on being spared after an outage that came with the change of the clock.
local function shorten_grace()
  shorten(P .. 'spared', a.grace_ms)
  local till = redis.call('HGET', P .. 'gap', 'till')
  if till then
    redis.call('HSET', P .. 'gap', 'till', math.min(till, now + a.grace_ms / 2))
  end
end

-- Leases of work are rescue.lua's to mend.
local function set_back(by)
  redis.call('DEL', P .. 'leader')
  shorten_grace()
  local function at_once()
    return now
  end
  for _, lane in ipairs(redis.call('SMEMBERS', P .. 'lanes')) do
    shorten(P .. 'emptying:' .. lane, a.lease_ms)
    bring_forward(P .. 'ready:' .. lane, at_once)
    bring_forward(P .. 'loading:' .. lane, at_once)
  end
  bring_forward(P .. 'batching', function()
    return now + LONGEST_TURN_MS
  end)
  bring_attempts_forward(by)
  looks_left = LOOKS
  bring_calls_forward(by)
end
