-- Whose turn it is in one lane: fair between callers by cost, weighted 16:4:1 between classes.
--   line:<lane>:<class>:<caller>  zset  that caller's work, by arrival
--   turns:<lane>:<class>          zset  callers, by the tag at which their next piece starts
--   suspects:<lane>               zset  work that is tried alone, by arrival
--   lease:<lane>                  zset  claimed work, by the end of its lease
--   emptying:<lane>               string  the worker that makes itself empty for a suspect
--   busy:<lane>                   hash  in lanes with limits: how much is claimed of each caller
--   held:<worker>                 hash  its claims: token → id, lane, rows, and * if it was not alone with the worker
-- Start-time fair queueing (Goyal and others, SIGCOMM 1996), once between the classes and once within each. The lane's
-- record (lanes.lua) has for each class n, how many wait, s, the start tag of its next piece, and v, its callers'
-- clock; and the lane's clock and the average cost of a piece. The next class is the one whose piece of that cost would
-- end first. A caller without work keeps its tag until its turn comes or the class is empty: what it took counts.

FairQueue.CLASSES = { 'interactive', 'normal', 'batch' }
FairQueue.RANK = { interactive = 1, normal = 2, batch = 3 }

-- The lane's fields of each class, by its rank.
FairQueue.WAITING, FairQueue.SUSPECTS = { 'n1', 'n2', 'n3' }, { 'x1', 'x2', 'x3' }
local WAITING, SUSPECTS = FairQueue.WAITING, FairQueue.SUSPECTS
local START, CLOCK = { 's1', 's2', 's3' }, { 'v1', 'v2', 'v3' }

-- By how much a piece of cost 1 moves its class's clock: 16 interactive pieces run for 4 normal ones and 1 of a batch.
local PACE = { 1, 4, 16 }

local IDLE = 128 -- callers without work that one call steps over
local SUSPECT_DEATHS = 2 -- deaths of workers, alone or beside other work, after which work is tried alone

-- Most work of one caller that each courier claims at once, by lane: less than a courier has threads.
local EACH = { intake = 12 }

function FairQueue.line_key(lane, class, caller)
  return P .. 'line:' .. lane .. ':' .. FairQueue.CLASSES[class] .. ':' .. caller
end

function FairQueue.turns_key(lane, class)
  return P .. 'turns:' .. lane .. ':' .. FairQueue.CLASSES[class]
end

-- The rank of work's class: its job's, or that of a more urgent follower.
function FairQueue.rank(work)
  return FairQueue.RANK[work.class or work.priority]
end

function FairQueue.is_suspect(work)
  return (work.deaths or 0) >= SUSPECT_DEATHS
end

-- How much waits in a lane.
function FairQueue.waiting(lane)
  return lane.n1 + lane.n2 + lane.n3 + lane.x1 + lane.x2 + lane.x3
end

-- A run with several answers takes a row for each; the lane counts those beyond the first.
function FairQueue.extra_rows(work)
  return (work.rows or 1) - 1
end

-- Whether as much of a caller's work is claimed as may be.
local function has_enough(lane, caller)
  local each = EACH[lane]
  local claimed = each and tonumber(call('HGET', P .. 'busy:' .. lane, caller) or 0)
  return each and claimed >= each and claimed >= each * Lanes.loading(Lanes.of('intake'))
end

-- Lets a caller's turn come again.
local function give_turn(lane, class, caller)
  call('ZADD', FairQueue.turns_key(lane.name, class), 'GT', lane[CLOCK[class]], caller)
end

-- Counts work that is claimed (1), or no more (-1): then a caller that had as much as may be gets a turn again.
function FairQueue.count_claimed(work, step)
  local name = work.lane
  if not EACH[name] then
    return
  elseif call('HINCRBY', P .. 'busy:' .. name, work.caller, step) < 1 then
    call('HDEL', P .. 'busy:' .. name, work.caller)
  end
  local lane = Lanes.of(name)
  for class = 1, step < 0 and 3 or 0 do
    if lane[WAITING[class]] > 0 then
      give_turn(lane, class, work.caller)
    end
  end
end

-- Puts work into its lane's line; `paid`: what it was charged is given back, because its turn comes again.
function FairQueue.enqueue(lane, work, paid)
  local class = FairQueue.rank(work)
  if FairQueue.waiting(lane) == 0 then
    call('SADD', P .. 'lanes', lane.name)
    lane.wide_queued = 0
    if EACH[lane.name] and call('EXISTS', P .. 'lease:' .. lane.name) == 0 then
      -- Claims whose records could not be read count no longer.
      call('DEL', P .. 'busy:' .. lane.name)
    end
  end
  lane.wide_queued, lane.changed = lane.wide_queued + FairQueue.extra_rows(work), true
  if FairQueue.is_suspect(work) then
    lane[SUSPECTS[class]] = lane[SUSPECTS[class]] + 1
    call('ZADD', P .. 'suspects:' .. lane.name, work.arrival, work.id)
    return
  end
  local n, s = WAITING[class], START[class]
  if lane[n] == 0 then
    lane[s] = math.max(lane[s], lane.clock)
  end
  lane[n] = lane[n] + 1
  call('ZADD', FairQueue.line_key(lane.name, class, work.caller), work.arrival, work.id)
  give_turn(lane, class, work.caller)
  if paid then
    call('ZINCRBY', FairQueue.turns_key(lane.name, class), -work.cost, work.caller)
    lane[s] = lane[s] - work.cost * PACE[class]
  end
end

local function left_class(lane, class)
  lane.changed = true
  lane[WAITING[class]] = math.max(lane[WAITING[class]] - 1, 0)
  if lane[WAITING[class]] == 0 then
    call('DEL', FairQueue.turns_key(lane.name, class))
    return true
  end
end

-- Takes work out of its lane's line; true if it was there.
function FairQueue.withdraw(lane, work)
  local class = FairQueue.rank(work)
  local line, turns = FairQueue.line_key(lane.name, class, work.caller), FairQueue.turns_key(lane.name, class)
  if FairQueue.is_suspect(work) and call('ZREM', P .. 'suspects:' .. lane.name, work.id) == 1 then
    lane[SUSPECTS[class]], lane.changed = math.max(lane[SUSPECTS[class]] - 1, 0), true
  elseif call('ZREM', line, work.id) == 1 then
    -- A caller that owes nothing needs no turn.
    if not left_class(lane, class) and call('EXISTS', line) == 0
      and tonumber(call('ZSCORE', turns, work.caller) or 0) <= lane[CLOCK[class]] then
      call('ZREM', turns, work.caller)
    end
  else
    return false
  end
  lane.wide_queued = math.max(lane.wide_queued - FairQueue.extra_rows(work), 0)
  return true
end

-- The class with waiting work, not in `without`, whose next piece would be done first.
local function next_class(lane, without)
  local class, soonest
  for c = 1, 3 do
    local done = lane[START[c]] + lane.cost * PACE[c]
    if lane[WAITING[c]] > 0 and not without[c] and (not class or done < soonest) then
      class, soonest = c, done
    end
  end
  return class
end

-- Takes the next piece out of the line, of no caller in `aside`: {id, class, caller, tag}; or nil, and if there may be
-- more.
function FairQueue.next(lane, aside)
  local without, passed = {}, 0
  local class = next_class(lane, without)
  for _ = 1, class and IDLE or 0 do
    local turns = FairQueue.turns_key(lane.name, class)
    local first = call('ZRANGE', turns, passed, passed, 'WITHSCORES')
    if not first[1] and passed == 0 and not EACH[lane.name] then
      lane[WAITING[class]], lane.changed = 0, true
      return nil, true
    elseif not first[1] then
      without[class], passed = true, 0
      class = next_class(lane, without)
      if not class then
        return nil
      end
    elseif aside[first[1]] then
      passed = passed + 1
    elseif has_enough(lane.name, first[1]) then
      call('ZREM', turns, first[1])
    else
      local id = call('ZPOPMIN', FairQueue.line_key(lane.name, class, first[1]))[1]
      if id then
        left_class(lane, class)
        return { id = id, class = class, caller = first[1], tag = tonumber(first[2]) }
      end
      call('ZREM', turns, first[1])
    end
  end
  return nil, class ~= nil
end

-- A piece begins: the clocks move to its tags, and its class and caller are charged.
function FairQueue.charge(lane, turn, cost)
  local class, s = turn.class, START[turn.class]
  lane.cost = lane.cost == 0 and cost or 0.9 * lane.cost + 0.1 * cost
  lane.clock, lane[CLOCK[class]] = lane[s], turn.tag
  lane[s] = lane[s] + cost * PACE[class]
  if lane[WAITING[class]] > 0 then
    call('ZADD', FairQueue.turns_key(lane.name, class), turn.tag + cost, turn.caller)
  end
end

-- Puts new work into line.
function FairQueue.enqueue_new(lane, work)
  lane.arrivals, lane.changed = lane.arrivals + 1, true
  if not lane.paused then
    lane.unload_at, lane.unload_by = nil, nil
  end
  work.state, work.queued_at, work.arrival = 'queued', now, lane.arrivals
  FairQueue.enqueue(lane, work)
end

-- Changes the class of work that may be waiting; it keeps its arrival.
function FairQueue.reclass(lane, work, priority)
  local waited = work.state == 'queued' and FairQueue.withdraw(lane, work)
  work.class = priority
  if waited then
    FairQueue.enqueue(lane, work)
  end
end

-- A worker's claims by token, each a text, and how many there are.
function FairQueue.claims_of(worker)
  return by_name(call('HGETALL', P .. 'held:' .. worker))
end

-- The id, lane and rows of a claim.
function FairQueue.parts_of(claim)
  return string.match(claim, '^(%S+) (%S+) (%d+)')
end

-- Work leaves its lease, however the attempt went.
function FairQueue.unlease(work)
  call('HDEL', P .. 'held:' .. work.worker, work.t.token)
  if call('ZREM', P .. 'lease:' .. work.lane, work.id) == 1 then
    FairQueue.count_claimed(work, -1)
    if FairQueue.extra_rows(work) > 0 then
      local lane = Lanes.of(work.lane)
      lane.wide_running, lane.changed = math.max(lane.wide_running - FairQueue.extra_rows(work), 0), true
    end
  end
end

-- Closes the last attempt, {number, worker, started, ended, outcome, error: {code, message}}, times in Unix ms.
function FairQueue.close_attempt(work, outcome)
  local attempts = work.attempts or {}
  local attempt = attempts[#attempts]
  if attempt and not attempt.ended then
    attempt.ended, attempt.outcome = now, outcome
  end
end

-- Takes work out of its lease, its line, or `later`.
function FairQueue.leave(work, outcome)
  if work.state == 'running' then
    FairQueue.unlease(work)
  elseif work.state == 'queued' then
    FairQueue.withdraw(Lanes.of(work.lane), work)
  else
    call('ZREM', P .. 'later', work.id)
    FairQueue.count_later(Lanes.of(work.lane), -1)
  end
  FairQueue.close_attempt(work, outcome)
end

-- Counts the work of a lane in `later`.
function FairQueue.count_later(lane, step)
  lane.later, lane.changed = math.max(lane.later + step, 0), true
end

-- Lets work wait in `later`; its state says what for.
function FairQueue.postpone(work, state, pause_ms)
  work.state, work.queued_at = state, now
  call('ZADD', P .. 'later', now + pause_ms, work.id)
  FairQueue.count_later(Lanes.of(work.lane), 1)
end

-- Puts leased work back at its old place in the line, after a pause if one is named. False if it ended, because its
-- model was removed meanwhile and no walk comes by again.
function FairQueue.requeue(work, reason, pause_ms)
  if Lanes.superseded(work) then
    FairQueue.close_attempt(work, reason)
    Runs.fail_work(work, S.removed)
    return false
  end
  FairQueue.leave(work, reason)
  work.t.token, work.worker, work.queued_at = nil, nil, now
  if is_computed(work) then
    Events.emit(work, 'requeued', cjson.encode({ reason = reason }))
  end
  if pause_ms then
    FairQueue.postpone(work, 'retrying', pause_ms)
  else
    work.state = 'queued'
    -- A job that found no place pays for its next turn again: turns in vain that are free would come before all others.
    FairQueue.enqueue(Lanes.of(work.lane), work, reason ~= 'queue_full')
  end
  write(work)
  return true
end

-- Counts one more worker that died on this work, alone or beside other claims. True if that was too many, and ended it.
function FairQueue.count_death(work)
  note_time(P .. 'lost:' .. work.lane, work.id, Lanes.LOST_S)
  local claim = call('HGET', P .. 'held:' .. (work.worker or ''), work.t.token)
  work.deaths = (work.deaths or 0) + 1
  if not (claim and string.find(claim, '%*$')) then
    work.deaths_alone = (work.deaths_alone or 0) + 1
  end
  if (work.deaths_alone or 0) >= S.max_deaths then
    Runs.fail_work(work, S.poison)
    return true
  end
end

-- How many pieces of a lane begin before one of a caller's: the one at `own` in the caller's line, or `work` at its
-- place there, or one that comes now. Other callers are taken to go at this one's pace.
function FairQueue.ahead(lane, work, own)
  local class = FairQueue.rank(work)
  local waiting = { lane.n1 + lane.x1, lane.n2 + lane.x2, lane.n3 + lane.x3 }
  local line = FairQueue.line_key(lane.name, class, work.caller)
  local callers = call('ZCARD', FairQueue.turns_key(lane.name, class))
  if not own and not work.arrival then
    own = call('ZCARD', line)
    waiting[class] = waiting[class] + 1
    callers = callers + (own == 0 and 1 or 0)
  end
  own = own or call('ZRANK', line, work.id)
  local mine = own + math.min((callers - 1) * (own + 1), math.max(waiting[class] - own - 1, 0))
  local count = mine
  for other = 1, 3 do
    if other ~= class then
      count = count + math.min(waiting[other], math.floor((mine + 1) * PACE[class] / PACE[other]))
    end
  end
  return count
end
