-- Sends an endpoint a test, even a disabled one. The test is in no log but that of the endpoint's calls.
--   a      id, caller, test (an id), data (JSON text of what is told), event_s, max_events
--   writes <test>:sent hash, the lines of calls.lua
--   returns the notice's fields, a flat list; nil where the caller has no such endpoint
--   repeat while the test waits sends it once
-- @include base
-- @include notices

if not owns_endpoint(a.caller, a.id) then
  return nil
end
local notice = a.test .. ':sent'
redis.call('HSET', P .. notice, 'type', 'webhook.test', 'caller', a.caller, 'at', now, 'data', a.data)
tell_to(notice, a.id, a.caller, redis.call('HGET', P .. a.id, 'host'), true)
return redis.call('HGETALL', P .. notice)
