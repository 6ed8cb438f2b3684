-- Takes the reports of jobs that ended, for the log, and has them written for as long as somebody comes for them.
--   a      limit, reading_ms
--   writes ended list, reading string
--   returns {a JSON object of the job's facts (reports.lua), …}, the oldest first
--   repeat takes the next ones: those of a reply that was lost are in no log
-- @include base

dirty_first()
local rows = redis.call('LPOP', P .. 'ended', a.limit)
redis.call('SET', P .. 'reading', 1, 'PX', a.reading_ms)
return rows or {}
