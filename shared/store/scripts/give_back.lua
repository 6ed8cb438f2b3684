-- Puts claimed work back in line, or ends it where its budget of failures is spent.
--   a      id, token, reason, spend (true = count a failure), max_failures, backoff_ms (after the first failure,
--          doubled by each), failure (JSON), missing (digests that the blob store lacks), died (true = the worker ends
--          because of this attempt, or one beside it), max_deaths, poison (JSON), result_s, job_s, event_s, max_events
--   writes <work> hash, lease zset, queue:<lane> zset and its lines, schedule zset, blob:<digest> zset
--   returns {queued, lane} | {postponed} | {failed} | {lost}
--   events requeued {reason} | failed
-- @include base
-- @include ending
-- @include deaths
-- @include pauses

if redis.call('HGET', P .. a.id, 'token') ~= a.token then
  return { 'lost' }
end
dirty_first()
for _, digest in ipairs(a.missing or {}) do
  miss(digest)
end
if a.died and count_death(a.id) then
  fail_work(a.id, a.poison)
  return { 'failed' }
end
local failures = a.spend and redis.call('HINCRBY', P .. a.id, 'failures', 1) or 0
if a.spend and failures >= a.max_failures then
  fail_work(a.id, a.failure)
  return { 'failed' }
end
if a.spend and a.backoff_ms > 0 then
  leave_lease(a.id, redis.call('HGET', P .. a.id, 'lane'), a.reason)
  postpone(a.id, 'retrying', now + math.min(a.backoff_ms * 2 ^ (failures - 1), LONGEST_PAUSE_MS))
  return { 'postponed' }
end
if a.reason == 'queue_full' then
  -- The job found no place, and pays for its next turn again: free turns in vain would go before everybody's.
  redis.call('HDEL', P .. a.id, 'charged')
end
return { 'queued', requeue(a.id, a.reason) }
