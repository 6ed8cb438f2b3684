-- Takes the reports of ended jobs, for the log, and has further ones written for `reading_ms` from now.
--   a      limit, reading_ms
--   writes ended list, reading string
--   returns {a JSON object of the job's facts (reports.lua), …}, the oldest first
--   repeat takes the next ones: reports in a lost reply are in no log
-- @include base

dirty_first()
local rows = redis.call('LPOP', P .. 'ended', a.limit)
redis.call('SET', P .. 'reading', 1, 'PX', a.reading_ms)
return rows or {}
