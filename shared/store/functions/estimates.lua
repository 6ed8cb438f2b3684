-- When work begins, as shared/estimate.py tells it: the wait is reckoned from what was measured, and two factors of it
-- are promised, p50 and p90, learnt apart for when a row is free, when all are busy, and when the model is still to be
-- loaded (`cold`). A lane's `factors` has, as texts of millionths, the factors of each kind, and `kept`: how many promises
-- were scored, and how many of p50 and p90 were kept. FIRST is assumed before.
local FIRST_SERVICE_MS, FIRST_LOAD_MS = 1000, 1000
local FIRST = { free = '1000000 3000000', busy = '1000000 3000000', cold = '1000000 2000000', kept = '0 0 0' }

-- How far a score moves a factor; the first ones move it further. In a burst many promises rest on the same factors and
-- miss together, so a factor aims higher by AMENDS times the share that too few were kept, of about the last thousand.
local STEP, AMENDS, MEMORY = 0.05, 3, 0.999

-- How long a claim takes where a row is free; the factors learn the true value.
local FREE_MS = 3

-- How many pieces are begun before one with `own` of its caller's before it: every caller at this one's pace, every class
-- at its own. `waiting` (pieces by rank of class) and `callers` (those of its class with work) count the piece itself.
function Estimates.ahead(waiting, class, own, callers)
  local count = own + math.min((callers - 1) * (own + 1), math.max(waiting[class] - own - 1, 0))
  local mine = count + 1
  for other = 1, 3 do
    if other ~= class and waiting[other] > 0 then
      count = count + math.min(waiting[other], math.floor(mine * FairQueue.PACE[class] / FairQueue.PACE[other]))
    end
  end
  return count
end

local function service_ms(lane)
  return Lanes.fact(lane, 'service_ms') or FIRST_SERVICE_MS
end

-- Milliseconds until a place of `ready` workers is free for work with `first` pieces before it, and whether one is free now.
-- Workers claim a few more than they have rows: `slots` counts places to begin in, `rows` places to compute in.
-- Running work counts by its rows; rows in excess turn back into pieces, because `service_ms` is that of a piece.
local function reckon(lane, first, ready)
  local running = Lanes.running(lane)
  local taken = running + lane.wide_running
  local over = taken - ready * (Lanes.fact(lane, 'slots') or 1)
  if first + over < 0 then
    return FREE_MS, 'free'
  end
  over = first + (over > 0 and over * running / taken or over)
  -- What is being computed counts as half done.
  local turns = (over + (running > 0 and 0.5 or 1)) / (ready * (Lanes.fact(lane, 'rows') or 1))
  return turns * service_ms(lane), 'busy'
end

-- Milliseconds until a model without a ready worker has one, and what a load was measured at; nil where none loads it
-- and none will.
local function loading_ms(lane)
  local known = fields_at(P .. 'lane:' .. lane.name, { 'failed', 'load_ms', 'load_guess_ms', 'load_started_ms' })
  local whole = tonumber(known.load_ms or known.load_guess_ms) or FIRST_LOAD_MS
  if known.failed then
    return nil
  elseif Lanes.loading(lane) > 0 then
    local passed = now - (tonumber(known.load_started_ms) or now)
    -- One that takes longer than expected will take a while yet.
    return math.max(whole - passed, passed / 4, 1000), known.load_ms
  end
  return Lanes.cold(lane) > 0 and math.max((Lanes.load_in_ms(lane) or 0) + whole, 1000) or nil, known.load_ms
end

-- Milliseconds until work with `first` pieces before it begins, what that rests on, and the epoch in which it does: a lane's
-- next one begins with its first worker; none where the load was only guessed, which teaches nothing. Nil where nobody
-- foresees it.
local function foresee(lane, first)
  local ready = Lanes.ready(lane)
  if ready > 0 then
    local ms, kind = reckon(lane, first, ready)
    return ms, kind, lane.epoch
  end
  local ms, measured = loading_ms(lane)
  if ms then
    return ms + reckon(lane, first, 1), 'cold', measured and lane.epoch + 1 or 0
  end
end

-- Notes in a new run when it is expected to begin: `promise`, its kind, milliseconds as reckoned, p50, p90, the lane's epoch in
-- which it does, and how long a run takes now (µs).
function Estimates.promise(lane, run, first)
  local ms, kind, epoch = foresee(lane, first)
  if not ms or lane.paused then
    return
  end
  if kind == 'cold' then
    Lanes.ask(lane)
  end
  local f50, f90 = string.match(lane.factors and lane.factors[kind] or FIRST[kind], '(%d+) (%d+)')
  local p50, p90 = ms * f50 / 1e6, ms * f90 / 1e6
  run.promise = string.format('%s %d %d %d %d %d', kind, ms, p50, math.max(p50, p90), epoch, math.ceil(1000 * service_ms(lane)))
end

-- A factor after the wait that it promised, and how many promises of its share were kept. It moves so that in the long run that
-- share of waits lies below it (Robbins and Monro 1951; Gibbs and Candès 2021 for the aim).
local function next_factor(factor, share, kept, scored, below, was_kept)
  local aim = share + AMENDS * (share * scored - kept) / math.max(scored, 100e6)
  local step = math.max(STEP, 10 / (scored / 1e6 + 10)) * (math.min(math.max(aim, 0.02), 0.98) - (below and 1 or 0))
  return math.min(math.max(factor * math.exp(step), 0.01e6), 1000e6), MEMORY * kept + (was_kept and 1e6 or 0)
end

-- Scores the estimate of a run that begins for the first time, and learns from it.
function Estimates.score(lane, run)
  local kind, ms, p50, p90, epoch, service = string.match(run.promise or '', '(%S+) (%d+) (%d+) (%d+) (%d+) ?(%d*)')
  if tonumber(epoch) ~= lane.epoch then
    return
  end
  local factors = lane.factors or {}
  local f50, f90 = string.match(factors[kind] or FIRST[kind], '(%d+) (%d+)')
  local scored, w50, w90 = string.match(factors.kept or FIRST.kept, '(%d+) (%d+) (%d+)')
  local took, scale = now - run.queued_at, ms / 1e6
  if kind == 'busy' and tonumber(service) then
    -- Later promises know already how long runs take by now: the factors learn the rest, or these would count it twice.
    scale = scale * 1000 * service_ms(lane) / service
  end
  f50, w50 = next_factor(f50, 0.5, w50, scored, took <= scale * f50, took <= tonumber(p50))
  f90, w90 = next_factor(f90, 0.9, w90, scored, took <= scale * f90, took <= tonumber(p90))
  factors.kept = string.format('%d %d %d', MEMORY * scored + 1e6, w50, w90)
  factors[kind] = string.format('%d %d', f50, f90)
  lane.factors, lane.changed = factors, true
end

-- Learns how long a run of a lane takes, and counts its answer.
function Estimates.learn_service(lane, took_ms)
  local before = call('HMGET', P .. 'lane:' .. lane, 'service_ms', 'answers')
  call('HSET', P .. 'lane:' .. lane, 'service_ms', before[1] and 0.9 * before[1] + 0.1 * took_ms or took_ms,
    'answers', (before[2] or 0) + 1)
end
