-- Reads whether a job that does not exist was deleted within the last minute.
--   a       job, caller
--   returns 1 where it was, else 0: it was deleted earlier or expired, or the store lost it
-- @include base

return redis.call('EXISTS', P .. 'purged:' .. a.caller .. ':' .. a.job)
