-- Puts work in line whose time has come: jobs with schedule_at, runs between two attempts.
--   a      limit
--   writes schedule zset, <work> hash, queue:<lane> zset and its lines
--   returns the lane of each
-- @include base
-- @include queue

dirty_first()
local lanes = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'schedule', '-inf', now, 'LIMIT', 0, a.limit)) do
  redis.call('ZREM', P .. 'schedule', id)
  local state, lane = unpack(redis.call('HMGET', P .. id, 'state', 'lane'))
  if is_newer(id) then
    -- Left to a courier who can read it.
    redis.call('ZADD', P .. 'schedule', now + 5000, id)
  elseif state == 'retrying' then
    redis.call('HSET', P .. id, 'state', 'queued', 'queued_at', now)
    stand(id, lane)
    table.insert(lanes, lane)
  elseif state == 'scheduled' then
    count_later(id, -1)
    enqueue(id, lane)
    table.insert(lanes, lane)
  end
end
return lanes
