-- Stops or resumes the claiming of one lane's work.
--   a      lane, paused
--   writes paused set
--   returns OK
--   repeat harmless
-- @include base

dirty_first()
redis.call(a.paused and 'SADD' or 'SREM', P .. 'paused', a.lane)
return 'OK'
