-- When work of a lane will begin, estimated from what was measured; shared/estimate.py does the same.
-- @include lane
-- @include turns

-- Until a lane's estimates are scored: half of the waits are at most as reckoned, nine in ten at most three times that.
local FIRST_GUESS = { p50 = 1, p90 = 3 }
-- How fast the two factors follow what is seen.
local STEP = 0.1
-- How long a claim takes where a row is free; the factors learn the true value.
local FREE_MS = 3
local FIRST_SERVICE_MS = 1000
-- By piece of work that this script has put in line: how many come before it.
local ahead = {}
-- Callers of a class that are looked at; the others are taken to be like them.
local LOOKED_AT = 64

-- How many pieces of other callers of its class are served before the piece at `own` of a caller's line.
local function others_first(lane, class, caller, own)
  local count, seen = 0, 0
  for _, other in ipairs(redis.call('ZRANGE', turns_key(lane, class), 0, LOOKED_AT - 1)) do
    if other ~= caller then
      seen = seen + 1
      count = count + math.min(redis.call('ZCARD', line_key(lane, class, other)), own + 1)
    end
  end
  local all = redis.call('ZCARD', turns_key(lane, class))
  return seen == 0 and 0 or math.floor(count * math.max(all - 1, seen) / seen)
end

-- How many pieces of a lane will be begun before the one at `own` of a caller's line: every caller at this one's
-- pace, every class at its own.
local function served_first(lane, class, caller, own)
  local count = own + others_first(lane, class, caller, own)
  local mine = count + 1
  for at, other in ipairs(CLASSES) do
    if other ~= class then
      local low, high = (at - 1) * 1e14, at * 1e14
      local waiting = redis.call('ZCOUNT', P .. 'queue:' .. lane, low, '(' .. string.format('%.0f', high))
      count = count + math.min(waiting, math.floor(mine * PACE[class] / PACE[other]))
    end
  end
  return count
end

-- What is known of a lane's pace, and of how good its estimates were.
local PACE_TOLD = { 'rows', 'slots', 'service_ms', 'free_p50', 'free_p90', 'busy_p50', 'busy_p90', 'epoch', 'scored', 'within_p50',
  'within_p90' }

local function pace_of(lane)
  return fields_at(P .. 'lane:' .. lane, PACE_TOLD)
end

-- Milliseconds until one of `places` is free for work with `first` pieces before it, and whether one is free now.
-- Workers claim a few more than they have rows: `slots` counts places to begin in, `rows` places to compute in.
-- Running work counts by its rows; rows in excess turn back into pieces, because `service_ms` is that of a piece.
local function reckoned(lane, pace, ready, first, places)
  local rows = ready * tonumber(pace.rows or 1)
  local running = redis.call('SCARD', P .. 'running:' .. lane)
  local taken = running + extra_rows('running:' .. lane)
  local over = taken - (places == 'slots' and ready * tonumber(pace.slots or 1) or rows)
  if first + over < 0 then
    return FREE_MS, 'free'
  end
  over = first + (over > 0 and over * running / taken or over)
  -- What is being computed counts as half done.
  return (over + (running > 0 and 0.5 or 1)) / rows * tonumber(pace.service_ms or FIRST_SERVICE_MS), 'busy'
end

local function factor(pace, kind, share)
  return tonumber(pace[kind .. '_' .. share] or FIRST_GUESS[share])
end

-- Milliseconds until a new run of a caller would have ended, for a caller who waits for the answer.
local function answer_ms(lane, class, caller, ready)
  local own, pace = redis.call('ZCARD', line_key(lane, class, caller)), pace_of(lane)
  local wait = reckoned(lane, pace, ready, served_first(lane, class, caller, own), 'rows')
  return wait + tonumber(pace.service_ms or 0)
end

-- Changes with every event that no estimate foresees: a pause, an outage, the first worker of a lane.
local function epoch(pace)
  return (pace.epoch or '0') .. ' ' .. (redis.call('GET', P .. 'outages') or '0')
end

-- A factor moves up or down so that in the long run a share q of the ratios lies below it (Robbins and Monro 1951).
local function moved(value, ratio, q)
  local step = ratio <= value and STEP * (q - 1) or STEP * q
  return math.min(math.max(value * math.exp(step), 0.01), 1000)
end

-- Scores the estimate of a run that begins for the first time, and learns from it.
local function score(run, lane)
  local wait, kind, p50, p90, since, promised_in = unpack(redis.call('HMGET', P .. run, 'reckoned', 'kind', 'p50',
    'p90', 'queued_at', 'epoch'))
  local pace = wait and pace_of(lane)
  if not wait or promised_in ~= epoch(pace) then
    return
  end
  local took = now - since
  local ratio = took / wait
  -- About the last thousand runs count.
  note(lane, kind .. '_p50', moved(factor(pace, kind, 'p50'), ratio, 0.5),
    kind .. '_p90', moved(factor(pace, kind, 'p90'), ratio, 0.9),
    'scored', 0.999 * tonumber(pace.scored or 0) + 1,
    'within_p50', 0.999 * tonumber(pace.within_p50 or 0) + (took <= tonumber(p50) and 1 or 0),
    'within_p90', 0.999 * tonumber(pace.within_p90 or 0) + (took <= tonumber(p90) and 1 or 0))
end
