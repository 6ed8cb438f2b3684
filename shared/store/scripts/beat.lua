-- Records that a worker lives, and what it says of itself and its lane.
--   a      worker, lane, state (loading | ready | gone), print, row (see rows.lua), worker_ttl_s, lease_ms, gap_ms,
--          grace_ms, facts (flat map kept on the lane; load_passed_ms is kept as the moment at which the load began),
--          record (flat map kept of the worker while it lives)
--   writes ready:<lane>, loading:<lane>, prints:<lane> zsets, lane:<lane> and worker:<worker> hashes, watched, spared
--          and emptying:<lane> strings, gap hash, and what set_back.lua writes
--   returns OK | outdated (its model has another row by now: the worker counts as gone) | forgotten (the worker is ready,
--           but the store lost what was said of the lane: it is to be said again)
-- @include base
-- @include lane
-- @include rows
-- @include watch
-- @include alive

-- Longer than any outage that a worker outlives: after one, its last beat tells whether it was alive before.
local KEPT_S = 86400

dirty_first()
watch()
if outdated() then
  for _, state in ipairs({ 'ready', 'loading' }) do
    redis.call('ZREM', P .. state .. ':' .. a.lane, a.worker)
  end
  redis.call('DEL', P .. 'worker:' .. a.worker)
  return 'outdated'
end
local old = alive_since()
-- A clock that was set back.
local ahead = '(' .. now
local was_ready = redis.call('ZSCORE', P .. 'ready:' .. a.lane, a.worker)
local ready_before = redis.call('ZCOUNT', P .. 'ready:' .. a.lane, old, '+inf')
for _, state in ipairs({ 'ready', 'loading' }) do
  local key = P .. state .. ':' .. a.lane
  redis.call('ZREMRANGEBYSCORE', key, '-inf', old)
  redis.call('ZREMRANGEBYSCORE', key, ahead, '+inf')
  if state == a.state then
    redis.call('ZADD', key, now, a.worker)
    redis.call('EXPIRE', key, KEPT_S)
  else
    redis.call('ZREM', key, a.worker)
  end
end
local record = P .. 'worker:' .. a.worker
if a.state == 'gone' then
  redis.call('DEL', record)
else
  for name, value in pairs(a.record) do
    redis.call('HSET', record, name, value)
  end
  redis.call('PEXPIRE', record, math.ceil(a.worker_ttl_s * 1000))
end
-- A worker that makes itself empty for a suspect (claim.lua) is waited for while it is ready and a suspect waits.
local EMPTYING = P .. 'emptying:' .. a.lane
if redis.call('GET', EMPTYING) == a.worker then
  local goes_on = a.state == 'ready' and redis.call('EXISTS', P .. 'suspects:' .. a.lane) == 1
  redis.call('PEXPIRE', EMPTYING, goes_on and a.lease_ms or 0)
end
-- Waits while no worker was ready say nothing about the estimates.
if a.state == 'ready' and ready_before == 0 then
  begin_epoch(a.lane)
end
if was_ready and a.state ~= 'ready' and a.print ~= '' then
  -- Its answers are no longer read from the cache, unless another worker of this fingerprint says that it lives.
  redis.call('ZADD', P .. 'prints:' .. a.lane, now - a.worker_ttl_s * 1000 - 1, a.print)
end
if a.state == 'ready' then
  local key = P .. 'prints:' .. a.lane
  redis.call('ZADD', key, now, a.print)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - KEPT_S * 1000)
  redis.call('EXPIRE', key, KEPT_S)
end
-- The lane's facts are kept while any worker serves it, even if no request comes.
if a.state ~= 'gone' then
  redis.call('EXPIRE', P .. 'lane:' .. a.lane, LANE_LIFE_S)
end
-- The moments of a load are by the store's clock: the workers' clocks may differ.
local passed = a.facts.load_passed_ms
a.facts.load_passed_ms = nil
if passed then
  note(a.lane, 'load_started_ms', now - passed)
end
for name, value in pairs(a.facts) do
  if value == '' then
    redis.call('HDEL', P .. 'lane:' .. a.lane, name)
  else
    note(a.lane, name, value)
  end
end
-- What is told once, as a model is loaded: its rows come with every beat.
if a.state == 'ready' and redis.call('HEXISTS', P .. 'lane:' .. a.lane, 'engine') == 0 then
  return 'forgotten'
end
return 'OK'
