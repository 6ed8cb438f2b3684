-- What is known of one model: its last load, its pace, what its workers said. Kept for a month, in case workers come
-- back.
Estimates.LANE_LIFE_S = 2592000

function Estimates.note(lane, ...)
  call('HSET', P .. 'lane:' .. lane, ...)
  call('EXPIRE', P .. 'lane:' .. lane, Estimates.LANE_LIFE_S)
end

-- Forgets all of a lane but its epoch, which only grows.
function Estimates.forget(lane)
  local epoch = call('HGET', P .. 'lane:' .. lane, 'epoch')
  call('DEL', P .. 'lane:' .. lane)
  if epoch then
    Estimates.note(lane, 'epoch', epoch)
  end
end

-- Begins a new epoch of a lane: estimates from before are not scored by what follows.
function Estimates.begin_epoch(lane)
  call('HINCRBY', P .. 'lane:' .. lane, 'epoch', 1)
  call('EXPIRE', P .. 'lane:' .. lane, Estimates.LANE_LIFE_S)
end

-- When work of a lane will begin, estimated from what was measured; shared/estimate.py does the same.

-- Until a lane's estimates are scored: half of the waits are at most as reckoned, nine in ten at most three times that.
local FIRST_GUESS = { p50 = 1, p90 = 3 }

-- How fast the two factors follow what is seen.
local STEP = 0.1

-- How long a claim takes where a row is free; the factors learn the true value.
local FREE_MS = 3

local FIRST_SERVICE_MS = 1000

-- Callers of a class that are looked at; the others are taken to be like them.
local LOOKED_AT = 8

-- How many pieces of other callers of its class are served before the piece at `own` of a caller's line.
local function others_first(lane, class, caller, own)
  local all = call('ZCARD', Queue.turns_key(lane, class))
  if own == 0 then
    return call('ZSCORE', Queue.turns_key(lane, class), caller) and all - 1 or all
  end
  local count, seen = 0, 0
  for _, other in ipairs(call('ZRANGE', Queue.turns_key(lane, class), 0, LOOKED_AT - 1)) do
    if other ~= caller then
      seen = seen + 1
      count = count + math.min(call('ZCARD', Queue.line_key(lane, class, other)), own + 1)
    end
  end
  return seen == 0 and 0 or math.floor(count * math.max(all - 1, seen) / seen)
end

-- How many pieces of a lane will be begun before the one at `own` of a caller's line: every caller at this one's
-- pace, every class at its own.
function Estimates.served_first(lane, class, caller, own)
  local count = own + others_first(lane, class, caller, own)
  local mine = count + 1
  for at, other in ipairs(Queue.CLASSES) do
    if other ~= class then
      local low, high = (at - 1) * 1e14, at * 1e14
      local waiting = call('ZCOUNT', P .. 'queue:' .. lane, low, '(' .. string.format('%.0f', high))
      count = count + math.min(waiting, math.floor(mine * Queue.PACE[class] / Queue.PACE[other]))
    end
  end
  return count
end

-- What is known of a lane's pace, and of how good its estimates were.
local PACE_TOLD = { 'rows', 'slots', 'service_ms', 'free_p50', 'free_p90', 'busy_p50', 'busy_p90', 'epoch', 'scored', 'within_p50',
  'within_p90' }

function Estimates.pace_of(lane)
  return fields_at(P .. 'lane:' .. lane, PACE_TOLD)
end

-- Milliseconds until one of `places` is free for work with `first` pieces before it, and whether one is free now.
-- Workers claim a few more than they have rows: `slots` counts places to begin in, `rows` places to compute in.
-- Running work counts by its rows; rows in excess turn back into pieces, because `service_ms` is that of a piece.
function Estimates.reckoned(lane, pace, ready, first, places)
  local rows = ready * tonumber(pace.rows or 1)
  local running = once('SCARD', P .. 'running:' .. lane)
  local taken = running + extra_rows('running:' .. lane)
  local over = taken - (places == 'slots' and ready * tonumber(pace.slots or 1) or rows)
  if first + over < 0 then
    return FREE_MS, 'free'
  end
  over = first + (over > 0 and over * running / taken or over)
  -- What is being computed counts as half done.
  return (over + (running > 0 and 0.5 or 1)) / rows * tonumber(pace.service_ms or FIRST_SERVICE_MS), 'busy'
end

function Estimates.factor(pace, kind, share)
  return tonumber(pace[kind .. '_' .. share] or FIRST_GUESS[share])
end

-- Milliseconds until a new run of a caller would have ended, for a caller who waits for the answer.
function Estimates.answer_ms(lane, class, caller, ready)
  local own, pace = call('ZCARD', Queue.line_key(lane, class, caller)), Estimates.pace_of(lane)
  local wait = Estimates.reckoned(lane, pace, ready, Estimates.served_first(lane, class, caller, own), 'rows')
  return wait + tonumber(pace.service_ms or 0)
end

-- Changes with every event that no estimate foresees: a pause, an outage, the first worker of a lane.
function Estimates.epoch(pace)
  return (pace.epoch or '0') .. ' ' .. (call('GET', P .. 'outages') or '0')
end

-- A factor moves up or down so that in the long run a share q of the ratios lies below it (Robbins and Monro 1951).
local function moved(value, ratio, q)
  local step = ratio <= value and STEP * (q - 1) or STEP * q
  return math.min(math.max(value * math.exp(step), 0.01), 1000)
end

-- Scores the estimate of a run that begins for the first time, and learns from it.
function Estimates.score(run, lane)
  local wait, kind, p50, p90, since, promised_in = fields(run, 'reckoned', 'kind', 'p50',
    'p90', 'queued_at', 'epoch')
  local pace = wait and Estimates.pace_of(lane)
  if not wait or promised_in ~= Estimates.epoch(pace) then
    return
  end
  local took = now - since
  local ratio = took / wait
  -- About the last thousand runs count.
  call('HSET', P .. 'lane:' .. lane, kind .. '_p50', moved(Estimates.factor(pace, kind, 'p50'), ratio, 0.5),
    kind .. '_p90', moved(Estimates.factor(pace, kind, 'p90'), ratio, 0.9),
    'scored', 0.999 * tonumber(pace.scored or 0) + 1,
    'within_p50', 0.999 * tonumber(pace.within_p50 or 0) + (took <= tonumber(p50) and 1 or 0),
    'within_p90', 0.999 * tonumber(pace.within_p90 or 0) + (took <= tonumber(p90) and 1 or 0))
end

-- A worker heard of since alive_since() is alive. upkeep.lua says which workers are spared after an outage.

function Estimates.alive_since()
  local from, till = unpack(once('HMGET', P .. 'gap', 'from', 'till'))
  -- After the clock was set back the gap may lie ahead of it.
  local at = till and now < tonumber(till) and math.min(now, from) or now
  return at - a.worker_ttl_s * 1000
end

-- Keeps a guess of how long a model's first load may take, until a worker knows better.
--   a      lane, load_ms
--   writes lane:<lane> hash (load_guess_ms, load_basis)
--   returns OK
--   repeat harmless; what a worker or an earlier guess said stays
transition('guess', {}, function()
  if call('HEXISTS', P .. 'lane:' .. a.lane, 'load_guess_ms') == 0 then
    Estimates.note(a.lane, 'load_guess_ms', a.load_ms, 'load_basis', 'guess')
  end
  return 'OK'
end)
