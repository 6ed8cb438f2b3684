-- Asks that a batch takes no more lines; what was done is kept.
--   a      id, caller
--   writes <batch> hash, batching zset
--   returns its fields, or nil where the caller has no such batch
--   repeat harmless; one that has ended, or only writes its files still, stays as it is
-- @include base
-- @include batches

if not string.find(a.id, '^batch_%x+$') or redis.call('HGET', P .. a.id, 'caller') ~= a.caller then
  return nil
end
local stage = stage_of(a.id)
if stage == 'validating' or stage == 'in_progress' then
  dirty_first()
  come_to(a.id, 'cancelling')
  if redis.call('HEXISTS', P .. a.id, 'token') == 0 then
    redis.call('ZADD', P .. 'batching', now, a.id)
  end
end
return redis.call('HGETALL', P .. a.id)
