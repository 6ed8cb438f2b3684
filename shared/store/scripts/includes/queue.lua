-- The waiting line of one lane: a sorted set, class first, then order of arrival.

local function rank(priority)
  return priority == 'interactive' and 0 or priority == 'batch' and 2 or 1
end

-- The place in line of work that is running when its class rises: should it wait again, it keeps its arrival.
local function promoted(score, priority)
  return string.format('%.0f', rank(priority) * 1e14 + score % 1e14)
end

local function enqueue(id, lane, priority)
  local score = rank(priority) * 1e14 + redis.call('INCR', P .. 'arrivals')
  redis.call('HSET', P .. id, 'state', 'queued', 'queued_at', now, 'score', string.format('%.0f', score))
  redis.call('ZADD', P .. 'queue:' .. lane, score, id)
  redis.call('SADD', P .. 'lanes', lane)
end

-- Puts leased work back at its old place in the line.
local function requeue(id, reason)
  local lane, score = unpack(redis.call('HMGET', P .. id, 'lane', 'score'))
  unlease(id, lane)
  redis.call('HDEL', P .. id, 'token', 'worker')
  redis.call('HSET', P .. id, 'state', 'queued', 'queued_at', now)
  redis.call('ZADD', P .. 'queue:' .. lane, score, id)
  close_attempt(id, reason)
  if is_run(id) then
    emit(id, 'requeued', cjson.encode({ reason = reason }))
  end
  return lane
end
