-- Reads what all processes have counted.
--   a       nothing
--   returns series and sums as a flat list
-- @include base

return redis.call('HGETALL', P .. 'counts')
