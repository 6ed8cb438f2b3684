-- Serves a model from now on: one that no models file names, with its row, or one that was removed.
--   a      lane, row (JSON text; absent where a models file has it), by and max_deeds (see deeds.lua)
--   writes models and lane:<lane> hashes, removed, removing, draining and paused sets, deeds stream
--   returns added | unchanged | conflict (it is served with another row)
--   repeat harmless
-- @include base
-- @include deeds
-- @include lane

dirty_first()
local removed = redis.call('SREM', P .. 'removed', a.lane) == 1
local before = redis.call('HGET', P .. 'models', a.lane)
if a.row and before and before ~= a.row and not removed then
  record('unchanged')
  return 'conflict'
end
redis.call('SREM', P .. 'removing', a.lane)
if a.row then
  redis.call('HSET', P .. 'models', a.lane, a.row)
end
local changed = removed or (a.row and not before)
if changed then
  begin_epoch(a.lane)
end
record(changed and 'done' or 'unchanged')
return changed and 'added' or 'unchanged'
