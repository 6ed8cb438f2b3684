-- Forgets an endpoint; calls that wait for it are forgotten when their turn comes.
--   a      id, caller
--   writes <id> hash, <id>:deliveries list, endpoints:<caller> zset
--   returns deleted, nil where the caller has no such endpoint
-- @include base
-- @include endpoints

if not owns_endpoint(a.caller, a.id) then
  return nil
end
redis.call('DEL', P .. a.id, P .. a.id .. ':deliveries')
redis.call('ZREM', P .. 'endpoints:' .. a.caller, a.id)
return 'deleted'
