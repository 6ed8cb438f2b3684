-- Serves a model from now on: one that no models file names, with its row, or one that was removed.
--   a      lane, row (JSON text; absent where a models file has it), by and max_admin_actions (see admin_actions.lua)
--   writes models and lane:<lane> hashes, removed, draining and paused sets, ready:<lane>, loading:<lane> and
--          prints:<lane> zsets, deeds stream
--   returns added | unchanged | conflict (it is served with another row)
--   repeat harmless
-- @include base
-- @include admin_actions
-- @include lane

dirty_first()
local removed = redis.call('SREM', P .. 'removed', a.lane) == 1
local before = redis.call('HGET', P .. 'models', a.lane)
if a.row and before and before ~= a.row and not removed then
  record('unchanged')
  return with_outcome('conflict')
end
if a.row and before and before ~= a.row then
  -- What is known of the former model under this id is not true of this one: its workers and cached answers go.
  for _, kind in ipairs({ 'ready:', 'loading:', 'prints:' }) do
    redis.call('DEL', P .. kind .. a.lane)
  end
  forget(a.lane)
end
if a.row then
  redis.call('HSET', P .. 'models', a.lane, a.row)
end
local changed = removed or (a.row and not before)
if changed then
  -- A model that could not be loaded may be mended by now; a pause or drain was meant for the former one.
  redis.call('HDEL', P .. 'lane:' .. a.lane, 'failed')
  redis.call('SREM', P .. 'paused', a.lane)
  redis.call('SREM', P .. 'draining', a.lane)
  begin_epoch(a.lane)
end
record(changed and 'done' or 'unchanged')
return with_outcome(changed and 'added' or 'unchanged')
