-- The end of a batch.
-- @include batches
-- @include files
-- @include notices

-- Ends a batch; only its record is left.
local function end_batch(batch, stage)
  local key = P .. batch
  local caller, digest, kept_s, retain_s = unpack(redis.call('HMGET', key, 'caller', 'digest', 'kept_s', 'retain_s'))
  come_to(batch, stage)
  redis.call('ZREM', P .. 'batching', batch)
  redis.call('ZREM', P .. 'batching:' .. caller, batch)
  redis.call('HDEL', key, 'token')
  release(digest, batch)
  for _, list in ipairs({ ':good', ':bad' }) do
    for _, piece in ipairs(redis.call('LRANGE', key .. list, 0, -1)) do
      release(piece, batch)
    end
  end
  redis.call('DEL', key .. ':lines', key .. ':answers', key .. ':doubles', key .. ':good', key .. ':bad')
  redis.call('EXPIRE', key, kept_s)
  redis.call('EXPIRE', P .. 'batches:' .. caller, math.max(kept_s, redis.call('TTL', P .. 'batches:' .. caller)))
  tell_end(batch, caller, 'batch.' .. stage, cjson.encode({ id = batch }), retain_s)
end
