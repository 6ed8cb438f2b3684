-- A caller's endpoints, which are told of all that ends.
--   endpoints:<caller>  zset  ids, by creation
--   <id> (wh_…)         hash  id, caller, url, host, events (words; <kind>.* is all of a kind), secret, description,
--                             created; former:<secret> = until when a secret from before a rotation signs as well;
--                             disabled (caller | gone) and disabled_at where it is; times in Unix ms
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
  local said = ' ' .. events .. ' '
  local kind = string.match(type, '^%l+') .. '.*'
  return string.find(said, ' ' .. type .. ' ', 1, true) or string.find(said, ' ' .. kind .. ' ', 1, true)
end

-- The secrets from before rotations that still sign: until when, by secret.
function Endpoints.formers_of(id)
  local fields, found = call('HGETALL', P .. id), {}
  for i = 1, #fields, 2 do
    local secret = string.match(fields[i], '^former:(.+)$')
    if secret and tonumber(fields[i + 1]) > now then
      found[secret] = tonumber(fields[i + 1])
    end
  end
  return found
end

-- What a caller is shown of an endpoint, a flat list: no secret, but until when a former one signs.
local function shown(id)
  local found, last = {}, nil
  for _, name in ipairs({ 'id', 'url', 'events', 'description', 'created', 'disabled', 'disabled_at' }) do
    local value = call('HGET', P .. id, name)
    if value then
      table.insert(found, name)
      table.insert(found, value)
    end
  end
  for _, till in pairs(Endpoints.formers_of(id)) do
    last = math.max(last or 0, till)
  end
  if last then
    table.insert(found, 'former_until')
    table.insert(found, string.format('%.0f', last))
  end
  return found
end

function Endpoints.disable_endpoint(id, reason)
  if call('HSETNX', P .. id, 'disabled', reason) == 1 then
    call('HSET', P .. id, 'disabled_at', now)
  end
end

-- Keeps a new endpoint of a caller.
--   a      id, caller, url, host, events (words), secret, description, most (endpoints that a caller may have)
--   writes <id> hash, endpoints:<caller> zset
--   returns {made, fields} | {many}
--   repeat the same id changes nothing
transition('endpoint_create', {}, function()
  if call('EXISTS', P .. a.id) == 0 then
    if call('ZCARD', P .. 'endpoints:' .. a.caller) >= a.most then
      return { 'many' }
    end
    call('HSET', P .. a.id, 'v', VERSION, 'id', a.id, 'caller', a.caller, 'url', a.url, 'host', a.host,
      'events', a.events, 'secret', a.secret, 'description', a.description, 'created', now)
    call('ZADD', P .. 'endpoints:' .. a.caller, now, a.id)
  end
  return { 'made', shown(a.id) }
end)

-- Lists a caller's endpoints, newest first.
--   a       caller
--   returns {fields, …}, a flat list each
transition('endpoint_list', { 'no-writes' }, function()
  local found = {}
  for _, id in ipairs(call('ZREVRANGE', P .. 'endpoints:' .. a.caller, 0, -1)) do
    table.insert(found, shown(id))
  end
  return found
end)

-- Changes an endpoint; what is absent stays. Calls that wait go to its new URL.
--   a      id, caller, url and host, events (words), description, enabled (true | false)
--   writes <id> hash
--   returns its fields, nil where the caller has no such endpoint
--   repeat harmless
transition('endpoint_change', {}, function()
  if not owns_endpoint(a.caller, a.id) then
    return nil
  end
  for _, name in ipairs({ 'url', 'host', 'events', 'description' }) do
    if a[name] then
      call('HSET', P .. a.id, name, a[name])
    end
  end
  if a.enabled then
    call('HDEL', P .. a.id, 'disabled', 'disabled_at')
  elseif a.enabled == false then
    Endpoints.disable_endpoint(a.id, 'caller')
  end
  return shown(a.id)
end)

-- Gives an endpoint another secret; the former one signs as well for a while, and earlier ones no longer than they
-- would have.
--   a      id, caller, secret, grace_s, most (former secrets that sign at once)
--   writes <id> hash
--   returns its fields, nil where the caller has no such endpoint
--   repeat the same secret changes nothing
transition('endpoint_rotate', { 'allow-oom' }, function()
  if not owns_endpoint(a.caller, a.id) then
    return nil
  end
  local key = P .. a.id
  local current, last = call('HGET', key, 'secret'), now + a.grace_s * 1000
  if current == a.secret then
    return shown(a.id)
  end
  -- Those that end last come first: where there are too many, those that end soonest go.
  local ends = { { current, last } }
  for secret, till in pairs(Endpoints.formers_of(a.id)) do
    call('HDEL', key, 'former:' .. secret)
    table.insert(ends, { secret, math.min(till, last) })
  end
  table.sort(ends, function(one, other) return one[2] > other[2] end)
  for at, former in ipairs(ends) do
    if at <= a.most and former[2] > now then
      call('HSET', key, 'former:' .. former[1], string.format('%.0f', former[2]))
    end
  end
  call('HSET', key, 'secret', a.secret)
  return shown(a.id)
end)

-- Forgets an endpoint; calls that wait for it are forgotten when their turn comes.
--   a      id, caller
--   writes <id> hash, <id>:deliveries list, endpoints:<caller> zset
--   returns deleted, nil where the caller has no such endpoint
transition('endpoint_delete', { 'allow-oom' }, function()
  if not owns_endpoint(a.caller, a.id) then
    return nil
  end
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

-- Sends an endpoint a test, even a disabled one. The test is in no log but that of the endpoint's calls.
--   a      id, caller, test (an id), data (JSON text of what is told), event_s, max_events
--   writes <test>:sent hash, the lines of webhooks.lua
--   returns the notice's fields, a flat list; nil where the caller has no such endpoint
--   repeat while the test waits sends it once
transition('endpoint_test', {}, function()
  if not owns_endpoint(a.caller, a.id) then
    return nil
  end
  local notice = a.test .. ':sent'
  call('HSET', P .. notice, 'type', 'webhook.test', 'caller', a.caller, 'at', now, 'data', a.data)
  Notices.tell_to(notice, a.id, a.caller, call('HGET', P .. a.id, 'host'), true)
  return call('HGETALL', P .. notice)
end)

-- Tells an endpoint a notice of its caller, again or for the first time, even where the endpoint is disabled.
--   a      id, caller, notice, event_s, max_events
--   writes <notice> hash, the lines of webhooks.lua
--   returns {unknown} (endpoint) | {expired} (the notice is no longer kept) | {queued, fields of the notice}
--   repeat harmless: a call that waits is due at once, one that a courier has is left alone
transition('endpoint_replay', {}, function()
  if not owns_endpoint(a.caller, a.id) then
    return { 'unknown' }
  end
  if call('HGET', P .. a.notice, 'caller') ~= a.caller then
    return { 'expired' }
  end
  Notices.tell_to(a.notice, a.id, a.caller, call('HGET', P .. a.id, 'host'), true)
  Notices.keep_notice(a.notice)
  return { 'queued', call('HGETALL', P .. a.notice) }
end)
