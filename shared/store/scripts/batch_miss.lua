-- Records that bytes of a batch's file, or of its written output, are missing: the blob folder may come back.
--   a      id, token, patience_ms (after which missing bytes are given up)
--   writes <batch> hash
--   returns written | lost (it is another process's by now, or has ended)
--   repeat harmless
-- @include base
-- @include batches

local key = P .. a.id
if not works_on(a.id, a.token) then
  return 'lost'
end
redis.call('HSETNX', key, 'missing', now)
if now - redis.call('HGET', key, 'missing') >= a.patience_ms then
  redis.call('HSET', key, 'gone', 1)
end
return 'written'
