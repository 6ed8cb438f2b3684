-- Ends a batch of which no line, or no further line, can be taken. Jobs of lines taken before go on by themselves.
--   a      id, token, errors (JSON text), event_s, max_events
--   writes <batch> hash, batching zset, blob:<digest> zset, and what it tells
--   returns written | lost (it is another process's by now, or has ended)
-- @include base
-- @include batch_ending

if not works_on(a.id, a.token) then
  return 'lost'
end
dirty_first()
redis.call('HSET', P .. a.id, 'errors', a.errors)
end_batch(a.id, 'failed')
return 'written'
