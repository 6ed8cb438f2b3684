-- A worker says that it lives.
--   a      worker, lane, state (loading | ready | gone), print, ttl_s, facts (flat map kept on the lane)
--   writes ready:<lane>, loading:<lane>, prints:<lane> zsets, lane:<lane> hash
--   returns OK
-- @include base
-- @include lane

dirty_first()
local old = now - a.ttl_s * 1000
for _, state in ipairs({ 'ready', 'loading' }) do
  local key = P .. state .. ':' .. a.lane
  redis.call('ZREMRANGEBYSCORE', key, '-inf', old)
  if state == a.state then
    redis.call('ZADD', key, now, a.worker)
    redis.call('PEXPIRE', key, math.ceil(a.ttl_s * 1000))
  else
    redis.call('ZREM', key, a.worker)
  end
end
if a.state == 'ready' then
  local key = P .. 'prints:' .. a.lane
  redis.call('ZADD', key, now, a.print)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - 86400000)
  redis.call('EXPIRE', key, 86400)
end
for name, value in pairs(a.facts) do
  if value == '' then
    redis.call('HDEL', P .. 'lane:' .. a.lane, name)
  else
    note(a.lane, name, value)
  end
end
return 'OK'
