-- Returns work whose lease ran out to its queue, or ends it where its budget of deaths is spent.
--   a      limit, max_deaths, lease_ms, gap_ms, grace_ms, failure (JSON), result_s, job_s, event_s, max_events
--   writes lease zset, <work> hash, queue:<lane> zset and its lines, watched and spared strings, gap hash,
--          and what set_back.lua writes
--   returns {{id, lane}, …}; lane is empty where the work was ended
--   events requeued {reason = worker_lost} | failed
-- @include base
-- @include ending
-- @include watch
-- @include deaths

dirty_first()
if watch() then
  return {}
end

-- A lease that ends later than any granted now was written before the clock was set back.
local longest = now + a.lease_ms
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'lease', '(' .. longest, '+inf', 'LIMIT', 0, a.limit)) do
  redis.call('ZADD', P .. 'lease', longest, id)
end

local rescued = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'lease', '-inf', now, 'LIMIT', 0, a.limit)) do
  if redis.call('EXISTS', P .. id) == 0 then
    redis.call('ZREM', P .. 'lease', id)
  elseif is_newer(id) then
    -- Left to a courier who can read it.
    redis.call('ZADD', P .. 'lease', longest, id)
  elseif count_death(id) then
    close_attempt(id, 'worker_lost')
    fail_work(id, a.failure)
    table.insert(rescued, { id, '' })
  else
    table.insert(rescued, { id, requeue(id, 'worker_lost') })
  end
end
return rescued
