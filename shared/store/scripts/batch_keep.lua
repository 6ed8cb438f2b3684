-- Says how long the process that works on a batch keeps it, or when it may be taken up again.
--   a      id, token, ms, leave (true = the process is done for now)
--   writes batching zset, <batch> hash
--   returns kept | lost (it is another process's by now, or has ended)
--   repeat harmless
-- @include base
-- @include batches

if not works_on(a.id, a.token) then
  return 'lost'
end
dirty_first()
redis.call('ZADD', P .. 'batching', now + a.ms, a.id)
if a.leave then
  -- A turn that came to its end found all bytes that it needed.
  redis.call('HDEL', P .. a.id, 'token', 'missing')
end
return 'kept'
