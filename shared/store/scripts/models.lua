-- Reads which models operators added and removed while the service runs.
--   a       nothing
--   reads   models hash {lane → row (JSON)}, removed and removing sets
--   returns {rows (flat list of lane and row), lanes of models that are removed, those of which something may still
--           wait}
-- @include base

return { redis.call('HGETALL', P .. 'models'), redis.call('SMEMBERS', P .. 'removed'),
  redis.call('SMEMBERS', P .. 'removing') }
