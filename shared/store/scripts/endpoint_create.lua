-- Keeps a new endpoint of a caller.
--   a      id, caller, url, host, events (words), secret, description, most (endpoints that a caller may have)
--   writes <id> hash, endpoints:<caller> zset
--   returns {made, fields} | {many}
--   repeat the same id changes nothing
-- @include base
-- @include endpoints

if redis.call('EXISTS', P .. a.id) == 0 then
  if redis.call('ZCARD', P .. 'endpoints:' .. a.caller) >= a.most then
    return { 'many' }
  end
  redis.call('HSET', P .. a.id, 'v', VERSION, 'id', a.id, 'caller', a.caller, 'url', a.url, 'host', a.host,
    'events', a.events, 'secret', a.secret, 'description', a.description, 'created', now)
  redis.call('ZADD', P .. 'endpoints:' .. a.caller, now, a.id)
end
return { 'made', shown(a.id) }
