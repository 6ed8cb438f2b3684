-- Puts claimed work back in line, or ends it where its budget of failures is spent.
--   a      id, token, reason, spend (true = count a failure), max_failures, failure (JSON), result_s, job_s
--   writes <work> hash, lease zset, queue:<lane> zset
--   returns {queued, lane} | {failed} | {lost}
--   events requeued {reason} | failed
-- @include base
-- @include blobs
-- @include events
-- @include ending
-- @include queue

if redis.call('HGET', P .. a.id, 'token') ~= a.token then
  return { 'lost' }
end
dirty_first()
if a.spend and redis.call('HINCRBY', P .. a.id, 'failures', 1) >= a.max_failures then
  fail_work(a.id, a.failure)
  return { 'failed' }
end
return { 'queued', requeue(a.id, a.reason) }
