-- Stops or resumes the claiming of one lane's work.
--   a      lane, paused, by and max_deeds (see deeds.lua)
--   writes paused set, lane:<lane> hash, deeds stream
--   returns OK
--   repeat harmless
-- @include base
-- @include deeds
-- @include lane

dirty_first()
local changed = redis.call(a.paused and 'SADD' or 'SREM', P .. 'paused', a.lane) == 1
if changed then
  begin_epoch(a.lane)
end
record(changed and 'done' or 'unchanged')
return 'OK'
