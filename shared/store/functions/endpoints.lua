-- A caller's endpoints, which are told of all that ends.
--   endpoints:<caller>  zset  ids, by creation
--   <id> (wh_…)         hash  id, caller, url, host, events (words; <kind>.* is all of a kind), secret, description,
--                             created; formers, former_until (api_keys.lua); disabled (caller | gone) and disabled_at
--                             where it is; times in Unix ms
--   <id>:deliveries     list  how its calls went, the newest last

function Endpoints.endpoints_of(caller)
  return call('ZRANGE', P .. 'endpoints:' .. caller, 0, -1)
end

-- Whether this is a caller's endpoint. The id may be anything a stranger typed.
local function owns_endpoint(caller, id)
  return string.find(id, '^wh_%x+$') and call('HGET', P .. id, 'caller') == caller
end

-- Whether a list of words names this type of event, or all of its kind.
function Endpoints.names(events, type)
  local words, kind = ' ' .. events .. ' ', string.match(type, '^%l+') .. '.*'
  return string.find(words, ' ' .. type .. ' ', 1, true) or string.find(words, ' ' .. kind .. ' ', 1, true)
end

-- The secrets from before rotations that still sign: until when, by secret.
function Endpoints.formers_of(id)
  return ApiKeys.formers_in(call('HGET', P .. id, 'formers'))
end

-- What a caller is shown of an endpoint: values in this order.
local function shown(id)
  local values = call('HMGET', P .. id, 'id', 'url', 'events', 'description', 'created', 'disabled', 'disabled_at',
    'former_until')
  if tonumber(values[8] or 0) <= now then values[8] = false end
  return values
end

function Endpoints.disable_endpoint(id, reason)
  if call('HSETNX', P .. id, 'disabled', reason) == 1 then
    call('HSET', P .. id, 'disabled_at', now)
  end
end

-- Keeps a new endpoint of a caller.
--   a      id, caller, url, host, events (words), secret, description, most (endpoints that a caller may have)
--   returns what is shown of it; nil where the caller has as many as may be
--   repeat the same id changes nothing
transition('endpoint_create', {}, function()
  if call('EXISTS', P .. a.id) == 0 then
    if call('ZCARD', P .. 'endpoints:' .. a.caller) >= a.most then return nil end
    call('HSET', P .. a.id, 'id', a.id, 'caller', a.caller, 'url', a.url, 'host', a.host,
      'events', a.events, 'secret', a.secret, 'description', a.description, 'created', now)
    call('ZADD', P .. 'endpoints:' .. a.caller, now, a.id)
  end
  return shown(a.id)
end)

-- Lists a caller's endpoints, newest first.
--   a       caller
--   returns {what is shown of it, …}
transition('endpoint_list', { 'no-writes' }, function()
  local found = {}
  for at, id in ipairs(call('ZREVRANGE', P .. 'endpoints:' .. a.caller, 0, -1)) do found[at] = shown(id) end
  return found
end)

-- Changes an endpoint; what is absent stays. Calls that wait go to its new URL.
--   a      id, caller, url and host, events (words), description, enabled (true | false)
--   returns what is shown of it, nil where the caller has no such endpoint
--   repeat harmless
transition('endpoint_change', {}, function()
  if not owns_endpoint(a.caller, a.id) then return nil end
  for _, name in ipairs({ 'url', 'host', 'events', 'description' }) do
    if a[name] then call('HSET', P .. a.id, name, a[name]) end
  end
  if a.enabled then
    call('HDEL', P .. a.id, 'disabled', 'disabled_at')
  elseif a.enabled == false then
    Endpoints.disable_endpoint(a.id, 'caller')
  end
  return shown(a.id)
end)

-- Gives an endpoint another secret; the former one signs as well for a while.
--   a      id, caller, secret, grace_s, most (former secrets that sign at once)
--   returns what is shown of it, nil where the caller has no such endpoint
--   repeat the same secret changes nothing
transition('endpoint_rotate', { 'allow-oom' }, function()
  if not owns_endpoint(a.caller, a.id) then return nil end
  if call('HGET', P .. a.id, 'secret') ~= a.secret then
    ApiKeys.replace_secret(P .. a.id, a.secret, now + a.grace_s * 1000, a.most)
  end
  return shown(a.id)
end)

-- Forgets an endpoint; calls that wait for it are forgotten when their turn comes.
--   a      id, caller
--   returns deleted, nil where the caller has no such endpoint
transition('endpoint_delete', { 'allow-oom' }, function()
  if not owns_endpoint(a.caller, a.id) then return nil end
  call('DEL', P .. a.id, P .. a.id .. ':deliveries')
  call('ZREM', P .. 'endpoints:' .. a.caller, a.id)
  return 'deleted'
end)

-- Reads how the calls of an endpoint went.
--   a       id, caller
--   returns the rows, the oldest first; nil where the caller has no such endpoint
transition('endpoint_log', { 'no-writes' }, function()
  return owns_endpoint(a.caller, a.id) and call('LRANGE', P .. a.id .. ':deliveries', 0, -1) or nil
end)

-- Puts a call of a notice to the endpoint in line, even where the endpoint is disabled; returns the notice's fields.
local function tell(notice)
  return Notices.tell_to(notice, a.id, a.caller, call('HGET', P .. a.id, 'host'), true)
end

-- Sends an endpoint a test. The test is in no log but that of the endpoint's calls.
--   a      id, caller, test (an id), data (JSON text of what is told), event_s, max_events
--   returns the notice's fields, a flat list; nil where the caller has no such endpoint
--   repeat while the test waits sends it once
transition('endpoint_test', {}, function()
  if not owns_endpoint(a.caller, a.id) then return nil end
  local notice = a.test .. ':sent'
  call('HSET', P .. notice, 'type', 'webhook.test', 'caller', a.caller, 'at', now, 'data', a.data)
  return tell(notice)
end)

-- Tells an endpoint a notice of its caller, again or for the first time.
--   a      id, caller, notice, event_s, max_events
--   returns {unknown} (endpoint) | {expired} (the notice is no longer kept) | {queued, fields of the notice}
--   repeat harmless: a call that waits is due at once, one that a courier has is left alone
transition('endpoint_replay', {}, function()
  if not owns_endpoint(a.caller, a.id) then return { 'unknown' } end
  local fields = tell(a.notice)
  return fields and { 'queued', fields } or { 'expired' }
end)
