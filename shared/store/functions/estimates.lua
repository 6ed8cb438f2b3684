-- When work begins, as shared/estimate.py shows it: the wait is reckoned from measurements, times two factors, for p50
-- and p90, learnt apart for when a row is free, when all are busy, and when the model is not loaded (`cold`). A lane's
-- `factors` has, as texts of millionths, those of each kind (at first FIRST), and `kept`: promises scored, and kept for
-- p50 and p90.
local FIRST_SERVICE_MS, FIRST_LOAD_MS = 1000, 1000
local FIRST = { free = '1000000 3000000', busy = '1000000 3000000', cold = '1000000 2000000', kept = '0 0 0' }

-- How far a score moves a factor; the first ones move it further. In a burst many promises rest on the same factors and
-- miss together, so a factor aims higher by AMENDS times the share that too few were kept, of about the last thousand.
local STEP, AMENDS, MEMORY = 0.05, 3, 0.999

local FREE_MS = 3 -- ms that a claim takes if a row is free; the factors learn the true value

local function service_ms(lane)
  return Lanes.fact(lane, 'service_ms') or FIRST_SERVICE_MS
end

-- Milliseconds until a place of `ready` workers is free for work with `first` pieces before it, and whether one is free
-- now. Workers claim a few more than they have rows: `slots` counts places to begin in, `rows` places to compute in.
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

-- Milliseconds until a model without a ready worker has one, and how long a load took; nil if none will load it.
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

-- Milliseconds until work with `first` pieces before it begins, the kind of that estimate, and its epoch: a lane's next
-- one begins with its first worker; 0 if the load was only guessed, which teaches nothing. nil if unforeseen.
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

-- Notes in a new run when it should begin: `promise`, its kind, milliseconds as reckoned, p50, p90, epoch, and how long
-- a run takes (µs).
function Estimates.promise(lane, run, first)
  local ms, kind, epoch = foresee(lane, first)
  if not ms or lane.paused then
    return
  end
  if kind == 'cold' then
    Lanes.ask(lane)
  end
  local f50, f90 = string.match(lane.factors and lane.factors[kind] or FIRST[kind], '(%d+) (%d+)')
  local p50, p90, service = ms * f50 / 1e6, ms * f90 / 1e6, math.ceil(1000 * service_ms(lane))
  run.promise = string.format('%s %d %d %d %d %d', kind, ms, p50, math.max(p50, p90), epoch, service)
end

-- A factor after the wait that it promised, and how many promises of its share were kept. In the long run that share of
-- waits is shorter (Robbins and Monro 1951; Gibbs and Candès 2021 for the aim).
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
    -- Later promises already use how long runs take by now: if the factors learnt that, too, it would count twice.
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
  local before, answers = unpack(call('HMGET', P .. 'lane:' .. lane, 'service_ms', 'answers'))
  local mean_ms = before and 0.9 * before + 0.1 * took_ms or took_ms
  call('HSET', P .. 'lane:' .. lane, 'service_ms', mean_ms, 'answers', (answers or 0) + 1)
end
