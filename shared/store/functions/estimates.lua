-- What is known of one model: its last load, its pace, what its workers said. Where all are gone it is kept for a month.
Estimates.LANE_LIFE_S = 2592000

function Estimates.note(lane, ...)
  call('HSET', P .. 'lane:' .. lane, ...)
  call('EXPIRE', P .. 'lane:' .. lane, Estimates.LANE_LIFE_S)
end

-- Forgets all of a lane but its epoch, which only grows.
function Estimates.forget(lane)
  local epoch = call('HGET', P .. 'lane:' .. lane, 'epoch')
  call('DEL', P .. 'lane:' .. lane)
  Estimates.note(lane, 'epoch', epoch or 0)
end

-- Begins a new epoch: what was promised before a pause, an outage or the first worker of a lane is not scored.
function Estimates.begin_epoch(lane)
  call('HINCRBY', P .. 'lane:' .. lane, 'epoch', 1)
  call('EXPIRE', P .. 'lane:' .. lane, Estimates.LANE_LIFE_S)
end

-- When work begins, as shared/estimate.py tells it: the wait is reckoned from what was measured, and two factors of it
-- are promised, p50 and p90, learnt apart for when a row is free and when all are busy. FIRST is assumed before.
local FIRST = { p50 = 1, p90 = 3, service_ms = 1000 }
local SHARE = { p50 = 0.5, p90 = 0.9 }

-- How far a score moves a factor; the first ones move it further. In a burst many promises rest on the same factors and
-- miss together, so a factor aims higher by AMENDS times the share that too few were kept, of about the last thousand.
local STEP, AMENDS, MEMORY = 0.05, 5, 0.999

-- How long a claim takes where a row is free; the factors learn the true value.
local FREE_MS = 3

-- How many pieces are begun before one with `own` of its caller's before it: every caller at this one's pace, every class
-- at its own. `waiting` (pieces by class) and `callers` (those of its class with work) count the piece itself.
function Estimates.ahead(waiting, class, own, callers)
  local count = own + math.min((callers - 1) * (own + 1), math.max(waiting[class] - own - 1, 0))
  local mine = count + 1
  for _, other in ipairs(Queue.CLASSES) do
    if other ~= class then
      count = count + math.min(waiting[other], math.floor(mine * Queue.PACE[class] / Queue.PACE[other]))
    end
  end
  return count
end

-- Milliseconds until one of `places` is free for work with `first` pieces before it, and whether one is free now.
-- Workers claim a few more than they have rows: `slots` counts places to begin in, `rows` places to compute in.
-- Running work counts by its rows; rows in excess turn back into pieces, because `service_ms` is that of a piece.
local function reckon(lane, first, ready, places)
  local running, taken = lane.running, lane.running_rows
  local over = taken - ready * (lane[places] or 1)
  if first + over < 0 then
    return FREE_MS, 'free'
  end
  over = first + (over > 0 and over * running / taken or over)
  -- What is being computed counts as half done.
  local turns = (over + (running > 0 and 0.5 or 1)) / (ready * (lane.rows or 1))
  return turns * (lane.service_ms or FIRST.service_ms), 'busy'
end

local function factor(lane, kind, name)
  return lane[kind .. '_' .. name] or FIRST[name]
end

-- Notes in a new run when it is expected to begin. There is no estimate without a ready worker.
function Estimates.promise(run, lane, first, ready)
  run.reckoned, run.kind = reckon(lane, first, ready, 'slots')
  run.p50 = run.reckoned * factor(lane, run.kind, 'p50')
  run.p90 = math.max(run.p50, run.reckoned * factor(lane, run.kind, 'p90'))
  run.epoch = lane.epoch or 0
end

-- Milliseconds until a new run would have ended, for a caller who waits for the answer.
function Estimates.answer_ms(lane, first, ready)
  return reckon(lane, first, ready, 'rows') + (lane.service_ms or 0)
end

-- Scores the estimate of a run that begins for the first time: names and values that change in the lane. A factor moves
-- so that in the long run the share aimed at lies below it (Robbins and Monro 1951; Gibbs and Candès 2021 for the aim).
function Estimates.score(run, lane)
  local changed, scored = {}, lane.scored or 0
  if not run.reckoned or run.epoch ~= (lane.epoch or 0) then
    return changed
  end
  local took, step = now - run.queued_at, math.max(STEP, 1 / (scored + 1))
  for name, share in pairs(SHARE) do
    local kept, own = lane['within_' .. name] or 0, factor(lane, run.kind, name)
    local aim = share + AMENDS * (share * scored - kept) / math.max(scored, 100)
    aim = math.min(math.max(aim, 0.02), 0.98)
    local below = took <= run.reckoned * own and 1 or 0
    add(changed, run.kind .. '_' .. name, math.min(math.max(own * math.exp(step * (aim - below)), 0.01), 1000))
    add(changed, 'within_' .. name, MEMORY * kept + (took <= run[name] and 1 or 0))
  end
  add(changed, 'scored', MEMORY * scored + 1)
  return changed
end

-- The measured service time, now that one more run took `took_ms`.
function Estimates.service_ms(before, took_ms)
  return before and 0.9 * before + 0.1 * took_ms or took_ms
end

-- A worker heard of since then is alive. upkeep.lua says which workers are spared after an outage.
function Estimates.alive_since()
  local from, till = unpack(once('HMGET', P .. 'gap', 'from', 'till'))
  -- After the clock was set back the gap may lie ahead of it.
  local at = till and now < tonumber(till) and math.min(now, from) or now
  return at - a.worker_ttl_s * 1000
end
