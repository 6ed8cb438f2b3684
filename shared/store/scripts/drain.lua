-- Stops a model from taking new jobs; those that wait for it or run go on. `pause` undoes it.
--   a      lane, by and max_admin_actions (see admin_actions.lua)
--   writes draining set, lane:<lane> hash, deeds stream
--   returns OK
--   repeat harmless
-- @include base
-- @include admin_actions
-- @include lane

dirty_first()
local changed = redis.call('SADD', P .. 'draining', a.lane) == 1
if changed then
  begin_epoch(a.lane)
end
record(changed and 'done' or 'unchanged')
return with_outcome('OK')
