-- Whether anybody could write. Where nobody could for gap_ms (an outage, or nobody was there) workers could not
-- renew either: their leases look run out, and they get grace_ms to renew them.

local function watch()
  local last = redis.call('GET', P .. 'watched')
  redis.call('SET', P .. 'watched', now)
  if last and now - last > a.gap_ms then
    redis.call('SET', P .. 'spared', 1, 'PX', a.grace_ms)
    redis.call('INCR', P .. 'outages')
  end
  return redis.call('EXISTS', P .. 'spared') == 1
end
