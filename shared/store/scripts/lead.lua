-- Makes a courier the leader of the maintenance, or keeps it so: the first to ask leads while it goes on asking.
--   a      courier, hold_ms
--   writes leader string
--   returns 1 where this courier leads, else 0
-- @include base

local leader = redis.call('GET', P .. 'leader')
if leader and leader ~= a.courier then
  return 0
end
dirty_first()
redis.call('SET', P .. 'leader', a.courier, 'PX', a.hold_ms)
return 1
