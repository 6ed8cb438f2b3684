-- Reads how the calls of an endpoint went.
--   a       id, caller
--   returns the rows, the oldest first; nil where the caller has no such endpoint
-- @include base
-- @include endpoints

return owns_endpoint(a.caller, a.id) and redis.call('LRANGE', P .. a.id .. ':deliveries', 0, -1) or nil
