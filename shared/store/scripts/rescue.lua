-- Returns work whose lease ran out to its queue, or ends it where its budget of deaths is spent.
--   a      limit, max_deaths, failure (JSON), result_s, job_s
--   writes lease zset, <work> hash, queue:<lane> zset
--   returns {{id, lane}, …}; lane is empty where the work was ended
--   events requeued {reason = worker_lost} | failed
-- @include base
-- @include blobs
-- @include events
-- @include ending
-- @include queue

dirty_first()
local rescued = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'lease', '-inf', now, 'LIMIT', 0, a.limit)) do
  if redis.call('EXISTS', P .. id) == 0 then
    redis.call('ZREM', P .. 'lease', id)
  elseif redis.call('HINCRBY', P .. id, 'deaths', 1) >= a.max_deaths then
    close_attempt(id, 'worker_lost')
    fail_work(id, a.failure)
    table.insert(rescued, { id, '' })
  else
    table.insert(rescued, { id, requeue(id, 'worker_lost') })
  end
end
return rescued
