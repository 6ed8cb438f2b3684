-- Stops or resumes the claiming of one lane's work.
--   a      lane, paused
--   writes paused set, lane:<lane> hash
--   returns OK
--   repeat harmless
-- @include base
-- @include lane

dirty_first()
if redis.call(a.paused and 'SADD' or 'SREM', P .. 'paused', a.lane) == 1 then
  begin_epoch(a.lane)
end
return 'OK'
