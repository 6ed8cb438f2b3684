-- Removes a model: from this step on nothing is taken in or begun for it. What runs may finish; `model_sweep` ends what
-- waits, even where the model is served again before that. Its row is kept, so that it is known what was removed.
--   a      lane, by and max_admin_actions (see admin_actions.lua)
--   writes removed, removing, paused and draining sets, generations and lane:<lane> hashes, deeds stream
--   returns OK
--   repeat harmless
-- @include base
-- @include admin_actions
-- @include lane

dirty_first()
local changed = redis.call('SADD', P .. 'removed', a.lane) == 1
if changed then
  redis.call('SADD', P .. 'removing', a.lane)
  redis.call('HINCRBY', P .. 'generations', a.lane, 1)
  redis.call('SREM', P .. 'paused', a.lane)
  redis.call('SREM', P .. 'draining', a.lane)
  begin_epoch(a.lane)
end
record(changed and 'done' or 'unchanged')
return with_outcome('OK')
