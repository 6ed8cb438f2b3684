-- Gives a process a batch to work on, under a lease: callers take turns, and then the batches of each.
--   a      token, lease_ms, window (lines of a batch on their way at once), max_queued, max_queued_caller
--   writes batching and batchers zsets, <batch> hash
--   returns {none, ms until one may be taken or ''}, else {taken, fields, doubles among the next lines, lines on their
--           way, how many of them have ended, pieces of its files, lines for which there is room, now}
--   repeat after a lost reply may take another: the lease of the first runs out
-- @include base
-- @include batches
-- @include lines

-- Due batches that are looked at; those behind them come nearer with each turn.
local LOOKS = 1000
-- Callers whose last turn is remembered; a caller without one comes first.
local REMEMBERED, FORGOTTEN_S = 1000, 3600

local function room_of(batch, on_their_way)
  local caller, own, lane = unpack(redis.call('HMGET', P .. batch, 'caller', 'max_queued', 'waits_for'))
  if lane and share_taken(lane, caller, a.max_queued, own or a.max_queued_caller) then
    return 0
  end
  return math.max(0, a.window - on_their_way)
end

-- The doubles among the next lines: a process takes no more lines in one turn than the window.
local function doubles_of(batch)
  local row = redis.call('HGET', P .. batch, 'row')
  return redis.call('ZRANGEBYSCORE', P .. batch .. ':doubles', '(' .. row, '+inf', 'LIMIT', 0, a.window)
end

local function pieces_of(batch)
  return redis.call('LLEN', P .. batch .. ':good') + redis.call('LLEN', P .. batch .. ':bad')
end

-- The longest due batch of the caller whose last turn is longest ago.
local function next_batch()
  local chosen, longest_ago, seen = nil, math.huge, {}
  for _, batch in ipairs(redis.call('ZRANGEBYSCORE', P .. 'batching', '-inf', now, 'LIMIT', 0, LOOKS)) do
    local caller = redis.call('HGET', P .. batch, 'caller')
    if not caller then
      redis.call('ZREM', P .. 'batching', batch)
    elseif not seen[caller] then
      if is_newer(batch) then
        -- What a newer release has written is left to a process that can read it.
        redis.call('ZADD', P .. 'batching', now + a.lease_ms, batch)
      else
        seen[caller] = true
        local turn = tonumber(redis.call('ZSCORE', P .. 'batchers', caller) or 0)
        if turn < longest_ago then
          chosen, longest_ago = batch, turn
        end
      end
    end
  end
  return chosen
end

local function count_turn(caller)
  local last = redis.call('ZREVRANGE', P .. 'batchers', 0, 0, 'WITHSCORES')[2] or 0
  redis.call('ZADD', P .. 'batchers', last + 1, caller)
  redis.call('ZREMRANGEBYRANK', P .. 'batchers', 0, -REMEMBERED - 1)
  redis.call('EXPIRE', P .. 'batchers', FORGOTTEN_S)
end

local batch = next_batch()
if batch then
  redis.call('ZADD', P .. 'batching', now + a.lease_ms, batch)
  redis.call('HSET', P .. batch, 'token', a.token)
  count_turn(redis.call('HGET', P .. batch, 'caller'))
  local on_their_way = redis.call('HLEN', P .. batch .. ':lines')
  return { 'taken', redis.call('HGETALL', P .. batch), doubles_of(batch), on_their_way,
    redis.call('HLEN', P .. batch .. ':answers'), pieces_of(batch), room_of(batch, on_their_way), now }
end
local next = redis.call('ZRANGE', P .. 'batching', 0, 0, 'WITHSCORES')[2]
return { 'none', next and math.max(0, next - now) or '' }
