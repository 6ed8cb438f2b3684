-- Returns work whose lease ran out to its queue, or ends it where its budget of deaths is spent.
--   a      limit, max_deaths, gap_ms, grace_ms, failure (JSON), result_s, job_s
--   writes lease zset, <work> hash, queue:<lane> zset and its lines, watched and spared strings
--   returns {{id, lane}, …}; lane is empty where the work was ended
--   events requeued {reason = worker_lost} | failed
-- @include base
-- @include ending

dirty_first()
-- Where nobody could look for gap_ms, workers could not renew either: they get grace_ms to do so. What was last
-- looked at is remembered for longer than any outage.
local MEMORY_S = 2592000
local last = redis.call('GET', P .. 'watched')
redis.call('SET', P .. 'watched', now, 'EX', MEMORY_S)
if last and now - last > a.gap_ms then
  redis.call('SET', P .. 'spared', 1, 'PX', a.grace_ms)
end
if redis.call('EXISTS', P .. 'spared') == 1 then
  return {}
end

-- Who died alone with its worker is more suspect than who died with others.
local shared = {}
local function died_alone(id)
  local worker = redis.call('HGET', P .. id, 'worker') or ''
  if shared[worker] == nil then
    shared[worker] = redis.call('SCARD', P .. 'held:' .. worker) > 1
  end
  return not shared[worker]
end

local rescued = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'lease', '-inf', now, 'LIMIT', 0, a.limit)) do
  if redis.call('EXISTS', P .. id) == 0 then
    redis.call('ZREM', P .. 'lease', id)
  else
    redis.call('HINCRBY', P .. id, 'deaths', 1)
    local alone = redis.call('HINCRBY', P .. id, 'deaths_alone', died_alone(id) and 1 or 0)
    if alone >= a.max_deaths then
      close_attempt(id, 'worker_lost')
      fail_work(id, a.failure)
      table.insert(rescued, { id, '' })
    else
      table.insert(rescued, { id, requeue(id, 'worker_lost') })
    end
  end
end
return rescued
