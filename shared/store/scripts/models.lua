-- Reads which models operators added and removed while the service runs.
--   a       nothing
--   reads   models hash {lane → row (JSON)}, removed and removing sets, generations hash
--   returns {rows (flat list of lane and row), lanes of models that are removed, lanes where work from before a removal
--           may still wait (flat list of lane and generation)}
-- @include base
-- @include generations

local removing = {}
for _, lane in ipairs(redis.call('SMEMBERS', P .. 'removing')) do
  add(removing, lane, generation_of(lane))
end
return { redis.call('HGETALL', P .. 'models'), redis.call('SMEMBERS', P .. 'removed'), removing }
