-- Bytes of a batch's file, or of what was written of its output, are not there: the folder may come back.
--   a      id, token, patience_ms (missing for so long they are given up)
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
