-- Gives a process the batch that has waited longest for somebody to work on it, under a lease.
--   a      token, lease_ms, window (lines of a batch on their way at once), max_queued, max_queued_caller
--   writes batching zset, <batch> hash
--   returns {none, ms until one may be taken or ''}, else {taken, fields, doubles among the next lines, lines on their way, how many of them have
--           ended, pieces of its files, lines for which there is room, now}
--   repeat after a lost reply may take another: the lease of the first runs out
-- @include base
-- @include batches
-- @include lines

local function room_of(batch, on_their_way)
  local caller, own, lane = unpack(redis.call('HMGET', P .. batch, 'caller', 'max_queued', 'waits_for'))
  if lane and share_taken(lane, caller, a.max_queued, own or a.max_queued_caller) then
    return 0
  end
  return math.max(0, a.window - on_their_way)
end

-- Of the lines that the batch comes to next: a process takes no more of them at a time than the window.
local function doubles_of(batch)
  local row = redis.call('HGET', P .. batch, 'row')
  return redis.call('ZRANGEBYSCORE', P .. batch .. ':doubles', '(' .. row, '+inf', 'LIMIT', 0, a.window)
end

local function pieces_of(batch)
  return redis.call('LLEN', P .. batch .. ':good') + redis.call('LLEN', P .. batch .. ':bad')
end

for _, batch in ipairs(redis.call('ZRANGEBYSCORE', P .. 'batching', '-inf', now, 'LIMIT', 0, 16)) do
  if redis.call('EXISTS', P .. batch) == 0 then
    redis.call('ZREM', P .. 'batching', batch)
  else
    -- What a newer release has written is left to a process that can read it.
    redis.call('ZADD', P .. 'batching', now + a.lease_ms, batch)
    if not is_newer(batch) then
      redis.call('HSET', P .. batch, 'token', a.token)
      local on_their_way = redis.call('HLEN', P .. batch .. ':lines')
      return { 'taken', redis.call('HGETALL', P .. batch), doubles_of(batch), on_their_way,
        redis.call('HLEN', P .. batch .. ':answers'), pieces_of(batch), room_of(batch, on_their_way), now }
    end
  end
end
local next = redis.call('ZRANGE', P .. 'batching', 0, 0, 'WITHSCORES')[2]
return { 'none', next and math.max(0, next - now) or '' }
