-- Whether a job that is not there was deleted: a minute ago at most.
--   a       job, caller
--   returns 1 where it was, else 0: it is over for longer, or the store lost it
-- @include base

return redis.call('EXISTS', P .. 'purged:' .. a.caller .. ':' .. a.job)
