-- Ends a job whose inputs cannot be had; only the holder of the intake claim can.
--   a      id, token, failure (JSON), result_s, job_s, event_s, max_events
--   writes <job> hash, lease zset
--   returns settled | lost
-- @include base
-- @include ending

local key = P .. a.id
if redis.call('HGET', key, 'settled_by') == a.token then
  return 'settled'
end
if redis.call('HGET', key, 'token') ~= a.token then
  return 'lost'
end
dirty_first()
redis.call('HSET', key, 'settled_by', a.token)
fail_work(a.id, a.failure)
return 'settled'
