-- Renews every lease that one worker holds, and puts claims back in line whose reply never reached the worker: those
-- count as no worker's death.
--   a      worker, claims {{id, token}, …}, lease_ms, result_s, job_s, event_s, max_events
--   writes lease zset, and what queue.lua writes
--   returns the tokens that are no longer good
--   events requeued {reason = claim_lost}
-- @include base
-- @include ending

-- Longer than a claim's reply takes to reach the worker.
local UNHEARD_MS = 3000

dirty_first()
local lost, named = {}, {}
for _, claim in ipairs(a.claims) do
  named[claim[1]] = true
  if redis.call('HGET', P .. claim[1], 'token') == claim[2] then
    redis.call('ZADD', P .. 'lease', now + a.lease_ms, claim[1])
  else
    table.insert(lost, claim[2])
  end
end
for _, id in ipairs(redis.call('SMEMBERS', P .. 'held:' .. a.worker)) do
  local till = not named[id] and redis.call('ZSCORE', P .. 'lease', id)
  if till and now - (till - a.lease_ms) > UNHEARD_MS then
    requeue(id, 'claim_lost')
  end
end
return lost
