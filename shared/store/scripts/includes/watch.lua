-- Watches for gaps in which nobody wrote. Where nobody did for gap_ms (an outage, or nobody was there), workers could
-- not renew either: their leases look run out, and they get grace_ms to renew them. Nor could they beat: for half of
-- that time, counted from the first write, workers alive when the gap began count as alive. That is granted once for
-- each gap. Where the last mark is ahead of now, the clock was set back.
-- @include set_back

-- A clock set back by less than this needs no mending.
local STEP_MS = 1000

local function notice_gap()
  local last = redis.call('GET', P .. 'watched')
  local gone = last and now - last > a.gap_ms
  if gone and redis.call('HGET', P .. 'gap', 'from') ~= last then
    redis.call('HSET', P .. 'gap', 'from', last, 'till', now + a.grace_ms / 2)
  end
  return gone
end

local function watch()
  local ahead = (redis.call('GET', P .. 'watched') or now) - now
  if ahead > STEP_MS then
    set_back(ahead)
  end
  local gone = notice_gap()
  redis.call('SET', P .. 'watched', now)
  if gone then
    redis.call('SET', P .. 'spared', 1, 'PX', a.grace_ms)
    redis.call('INCR', P .. 'outages')
  end
  return redis.call('EXISTS', P .. 'spared') == 1
end
