-- A caller's endpoints, which are told of all that ends.
--   endpoints:<caller>  zset  ids, by creation
--   <id> (wh_…)         hash  id, caller, url, host, events (words; <kind>.* is all of a kind), secret, description,
--                             created; former:<secret> = until when a secret from before a rotation signs as well;
--                             disabled (caller | gone) and disabled_at where it is; times in Unix ms
--   <id>:deliveries     list  how its calls went, the newest last

local function endpoints_of(caller)
  return redis.call('ZRANGE', P .. 'endpoints:' .. caller, 0, -1)
end

-- Whether this is a caller's endpoint. The id may be anything a stranger typed.
local function owns_endpoint(caller, id)
  return string.find(id, '^wh_%x+$') and redis.call('HGET', P .. id, 'caller') == caller
end

-- Whether a list of words names this type of event, or all of its kind.
local function names(events, type)
  local said = ' ' .. events .. ' '
  local kind = string.match(type, '^%l+') .. '.*'
  return string.find(said, ' ' .. type .. ' ', 1, true) or string.find(said, ' ' .. kind .. ' ', 1, true)
end

-- The secrets from before rotations that still sign: until when, by secret.
local function formers_of(id)
  local fields, found = redis.call('HGETALL', P .. id), {}
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
    local value = redis.call('HGET', P .. id, name)
    if value then
      table.insert(found, name)
      table.insert(found, value)
    end
  end
  for _, till in pairs(formers_of(id)) do
    last = math.max(last or 0, till)
  end
  if last then
    table.insert(found, 'former_until')
    table.insert(found, string.format('%.0f', last))
  end
  return found
end

local function disable_endpoint(id, reason)
  if redis.call('HSETNX', P .. id, 'disabled', reason) == 1 then
    redis.call('HSET', P .. id, 'disabled_at', now)
  end
end
