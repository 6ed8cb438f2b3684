-- Begins a batch over a file of its caller.
--   a      id, caller, file, endpoint, window_s, metadata (JSON text), max_queued and retain_s (of the API key used,
--          absent = the key has none), life_s, kept_s, most (batches that a caller may have under way), body (digest of
--          the request, absent = the id is no idempotency key's)
--   writes <batch> hash, batches:<caller>, batching and batching:<caller> zsets, blob:<digest> zset
--   returns {missing} where the caller has no such file, {purpose} where the file is not for batches, {many},
--           {mismatch} where the id is another body's, else {created, fields}
--   repeat the same id changes nothing
-- @include base
-- @include batches
-- @include blobs

local key, list = P .. a.id, P .. 'batches:' .. a.caller
if redis.call('EXISTS', key) == 0 then
  local known = string.find(a.file, '^file%-%x+$')
  local caller, purpose, digest, size = unpack(
    known and redis.call('HMGET', P .. a.file, 'caller', 'purpose', 'digest', 'size') or {})
  if caller ~= a.caller then
    return { 'missing' }
  end
  if purpose ~= 'batch' then
    return { 'purpose' }
  end
  if redis.call('ZCARD', P .. 'batching:' .. a.caller) >= a.most then
    return { 'many' }
  end
  redis.call('HSET', key, 'v', VERSION, 'id', a.id, 'caller', a.caller, 'stage', 'validating', 'file', a.file,
    'digest', digest, 'size', size, 'endpoint', a.endpoint, 'window_s', a.window_s, 'metadata', a.metadata,
    'life_s', a.life_s, 'kept_s', a.kept_s, 'created', now, 'expires', string.format('%.0f', now + a.window_s * 1000), 'at', 0, 'row', 0,
    'completed', 0, 'failed', 0, 'late', 0, 'input_tokens', 0, 'output_tokens', 0, 'cached_tokens', 0)
  for _, name in ipairs({ 'max_queued', 'retain_s', 'body' }) do
    if a[name] then
      redis.call('HSET', key, name, a[name])
    end
  end
  hold(digest, a.id, '+inf')
  redis.call('ZADD', P .. 'batching', now, a.id)
  redis.call('ZADD', P .. 'batching:' .. a.caller, now, a.id)
  redis.call('ZADD', list, now, a.id)
  redis.call('EXPIRE', list, math.max(a.kept_s + a.window_s, redis.call('TTL', list)))
  -- Each new batch looks at two old ones, so that a list does not grow by batches that are gone.
  for _, oldest in ipairs(redis.call('ZRANGE', list, 0, 1)) do
    if redis.call('EXISTS', P .. oldest) == 0 then
      redis.call('ZREM', list, oldest)
    end
  end
elseif redis.call('HGET', key, 'body') ~= (a.body or false) then
  return { 'mismatch' }
end
return { 'created', redis.call('HGETALL', key) }
