-- Reads about how many bytes a caller holds of the record store.
--   a      caller, result_s
--   reads  holdings:<part> hashes
--   returns the bytes
-- @include base
-- @include holdings

return holding_of(a.caller)
