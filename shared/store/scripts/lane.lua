-- Reads what is known of one model: its workers, its line, its last load.
--   a       lane, worker_ttl_s
--   reads   queue:<lane> zset and the <run> hash of its first
--   returns a flat list of names and values
-- @include base
-- @include viewing

local facts = lane_view(a.lane)
local first = redis.call('ZRANGE', P .. 'queue:' .. a.lane, 0, 0)[1]
add(facts, 'first_queued_ms', first and redis.call('HGET', P .. first, 'queued_at'))
return facts
