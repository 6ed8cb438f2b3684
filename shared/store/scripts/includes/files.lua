-- Files that callers upload and batches write: <file> hash (id, caller, name, purpose, size, digest, created, expires; times
-- in Unix ms), files:<caller> zset by creation. A record and its hold of the bytes end together.
-- @include blobs

-- Keeps a file whose bytes are written: id, caller, name, purpose, size, digest, life_s, and the holder of its upload.
local function keep_file(file)
  local key, list = P .. file.id, P .. 'files:' .. file.caller
  if redis.call('EXISTS', key) == 1 then
    return
  end
  local expires = now + file.life_s * 1000
  redis.call('HSET', key, 'v', VERSION, 'id', file.id, 'caller', file.caller, 'name', file.name, 'purpose', file.purpose,
    'size', file.size, 'digest', file.digest, 'created', now, 'expires', string.format('%.0f', expires))
  redis.call('EXPIRE', key, file.life_s)
  hold(file.digest, file.id, string.format('%.0f', expires))
  release(file.digest, file.holder)
  redis.call('ZADD', list, now, file.id)
  redis.call('EXPIRE', list, math.max(file.life_s, redis.call('TTL', list)))
  -- Each new file looks at two old ones, so that a list does not grow by files that are gone.
  for _, oldest in ipairs(redis.call('ZRANGE', list, 0, 1)) do
    if redis.call('EXISTS', P .. oldest) == 0 then
      redis.call('ZREM', list, oldest)
    end
  end
end
