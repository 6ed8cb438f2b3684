-- Tells an endpoint a notice of its caller, again or for the first time, even where the endpoint is disabled.
--   a      id, caller, notice, event_s, max_events
--   writes <notice> hash, the lines of calls.lua
--   returns {unknown} (endpoint) | {expired} (the notice is no longer kept) | {queued, fields of the notice}
--   repeat harmless: a call that waits is due at once, one that a courier has is left alone
-- @include base
-- @include notices

if not owns_endpoint(a.caller, a.id) then
  return { 'unknown' }
end
if redis.call('HGET', P .. a.notice, 'caller') ~= a.caller then
  return { 'expired' }
end
tell_to(a.notice, a.id, a.caller, redis.call('HGET', P .. a.id, 'host'), true)
keep_notice(a.notice)
return { 'queued', redis.call('HGETALL', P .. a.notice) }
