-- A caller's endpoints, plain records (records.lua) that are told of all that ends.
--   <id> (wh_…)      hash  what the class Endpoint has; caller, host, secret, formers; events in words, <kind>.* is all of a
--                          kind; disabled (caller | gone) and disabled_ms where it is
--   <id>:deliveries  list  how its calls went, the newest last

function Endpoints.endpoints_of(caller)
  return call('ZRANGE', P .. 'endpoints:' .. caller, 0, -1)
end

-- Whether a list of words names this type of event, or all of its kind.
function Endpoints.names(events, type)
  local words, kind = ' ' .. events .. ' ', string.match(type, '^%l+') .. '.*'
  return string.find(words, ' ' .. type .. ' ', 1, true) or string.find(words, ' ' .. kind .. ' ', 1, true)
end

-- The secrets from before rotations that still sign: until when, by secret.
function Endpoints.formers_of(id)
  return Records.formers(call('HGET', P .. id, 'formers'))
end

function Endpoints.disable_endpoint(id, reason)
  if call('HSETNX', P .. id, 'disabled', reason) == 1 then
    call('HSET', P .. id, 'disabled_ms', now)
  end
end

-- Tells an endpoint a notice of its caller, again or for the first time, even where it is disabled; a test, which is in no log
-- but that of the endpoint's calls, brings its `data` (JSON text). A call that waits is due at once, one that a courier has
-- is left alone. Returns {unknown} (endpoint) | {expired} (the notice is no longer kept) | {queued, fields of the notice}.
transition('endpoint_send', {}, function()
  local host = Records.owned('endpoints', a.caller, a.id, 'host')
  if not host then
    return { 'unknown' }
  elseif a.data then
    call('HSET', P .. a.notice, 'type', 'webhook.test', 'caller', a.caller, 'at', now, 'data', a.data)
  end
  local fields = Notices.send_again(a.notice, a.id, a.caller, host, true)
  return fields and { 'queued', fields } or { 'expired' }
end)
