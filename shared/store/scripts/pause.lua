-- Stops or resumes the claiming of one lane's work. A drained model that is resumed takes new jobs again, too.
--   a      lane, paused, by and max_admin_actions (see admin_actions.lua)
--   writes paused and draining sets, lane:<lane> hash, deeds stream
--   returns OK
--   repeat harmless
-- @include base
-- @include admin_actions
-- @include lane

dirty_first()
local changed = redis.call(a.paused and 'SADD' or 'SREM', P .. 'paused', a.lane) == 1
if not a.paused then
  changed = redis.call('SREM', P .. 'draining', a.lane) == 1 or changed
end
if changed then
  begin_epoch(a.lane)
end
record(changed and 'done' or 'unchanged')
return with_outcome('OK')
