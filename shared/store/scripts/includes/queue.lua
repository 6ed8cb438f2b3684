-- What waits in one lane. Each piece of work stands in queue:<lane> (by class, then arrival, to be counted and found),
-- and also in its caller's line (turns.lua) or, after deaths, in suspects:<lane>, from which one worker at a time takes
-- a piece alone.
-- @include attempts
-- @include events
-- @include generations
-- @include turns

-- After this many workers died on it, alone or beside other work, a piece of work is tried alone.
local SUSPECT_DEATHS = 2

local function rank(priority)
  return priority == 'interactive' and 0 or priority == 'batch' and 2 or 1
end

local function is_suspect(id)
  return tonumber(redis.call('HGET', P .. id, 'deaths') or 0) >= SUSPECT_DEATHS
end

local function stand(id, lane)
  local class, caller, arrival, deaths, rows =
    unpack(redis.call('HMGET', P .. id, 'priority', 'caller', 'arrival', 'deaths', 'rows'))
  if redis.call('ZADD', P .. 'queue:' .. lane, string.format('%.0f', rank(class) * 1e14 + arrival), id) == 1 then
    count_rows('queue:' .. lane, rows, 1)
  end
  redis.call('SADD', P .. 'lanes', lane)
  if tonumber(deaths or 0) >= SUSPECT_DEATHS then
    redis.call('ZADD', P .. 'suspects:' .. lane, arrival, id)
  else
    join_line(id, lane, class, caller, arrival)
  end
  local removed = superseded(id)
  if removed then
    -- The work comes back after its model was removed: perhaps only the sweep will ever look at it.
    redis.call('SADD', P .. 'removing', removed)
  end
end

local function withdraw(id, lane)
  local waited = redis.call('ZREM', P .. 'queue:' .. lane, id) == 1
  local suspect = redis.call('ZREM', P .. 'suspects:' .. lane, id) == 1
  if waited then
    local class, caller, rows = unpack(redis.call('HMGET', P .. id, 'priority', 'caller', 'rows'))
    count_rows('queue:' .. lane, rows, -1)
    -- Where the record is gone the line is unknown; claim drops the entry there.
    if class and not suspect then
      quit_line(id, lane, class, caller)
    end
  end
  if redis.call('EXISTS', P .. 'queue:' .. lane) == 0 then
    forget_turns(lane)
  end
end

local function enqueue(id, lane)
  local arrival = redis.call('INCR', P .. 'arrivals')
  redis.call('HSET', P .. id, 'state', 'queued', 'queued_at', now, 'arrival', arrival)
  stand(id, lane)
end

-- Changes the class of work that may be waiting; it keeps its arrival.
local function reclass(id, lane, priority)
  local waiting = redis.call('ZSCORE', P .. 'queue:' .. lane, id)
  if waiting then
    withdraw(id, lane)
  end
  redis.call('HSET', P .. id, 'priority', priority)
  if waiting then
    stand(id, lane)
  end
end

local function leave_lease(id, lane, reason)
  unlease(id, lane)
  redis.call('HDEL', P .. id, 'token', 'worker', 'company')
  close_attempt(id, reason)
  if is_run(id) then
    emit(id, 'requeued', cjson.encode({ reason = reason }))
  end
end

-- Puts leased work back at its old place in the line.
local function requeue(id, reason)
  local lane = redis.call('HGET', P .. id, 'lane')
  leave_lease(id, lane, reason)
  redis.call('HSET', P .. id, 'state', 'queued', 'queued_at', now)
  stand(id, lane)
  return lane
end

-- Keeps work out of the line until `due` (Unix ms).
local function postpone(id, state, due)
  redis.call('HSET', P .. id, 'state', state, 'queued_at', now)
  redis.call('ZADD', P .. 'schedule', due, id)
end

-- Scheduled jobs count for their model and caller as if they waited: later:<lane> hash, '' is the sum.
local function count_later(job, step)
  local lane, caller = unpack(redis.call('HMGET', P .. job, 'model_lane', 'caller'))
  for _, field in ipairs({ '', caller }) do
    if redis.call('HINCRBY', P .. 'later:' .. lane, field, step) <= 0 then
      redis.call('HDEL', P .. 'later:' .. lane, field)
    end
  end
end
