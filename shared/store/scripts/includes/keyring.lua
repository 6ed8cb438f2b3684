-- API keys. Of their secrets only the digests are known.
--   key:<id>        hash    id, name, caller, scopes, digest, created; expires, rate, max_queued, retain_s,
--                           former_until (the last of them), revoked where it has them; former:<digest> = until
--                           when a secret from before a rotation goes on; times in Unix ms
--   keyof:<digest>  string  the id of the key in force with this secret
--   keys            zset    ids, by creation
--   rate:<id>       hash    requests of the last minute, by the second they came in

local function key_key(id)
  return P .. 'key:' .. id
end

-- Whether there is such a key. The id may be anything that was typed.
local function is_key(id)
  return string.find(id, '^key_%x+$') and redis.call('EXISTS', key_key(id)) == 1
end

-- Whether a key was neither revoked nor has expired.
local function in_force(id)
  local expires, revoked = unpack(redis.call('HMGET', key_key(id), 'expires', 'revoked'))
  return not revoked and now < tonumber(expires or math.huge)
end

-- The former secrets in their grace time: ends by digests.
local function formers(id)
  local fields, found = redis.call('HGETALL', key_key(id)), {}
  for i = 1, #fields, 2 do
    local digest = string.match(fields[i], '^former:(.+)$')
    if digest then
      found[digest] = tonumber(fields[i + 1])
    end
  end
  return found
end
