-- Reads what is known of one model: its workers, its line, its last load.
--   a       lane, worker_ttl_s
--   returns a flat list of names and values
-- @include base
-- @include viewing

return lane_view(a.lane)
