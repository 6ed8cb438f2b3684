-- A piece of work has its attempts: {number, worker, started, ended, outcome}, times in Unix ms.

function Queue.open_attempt(id, number, worker)
  local attempts = get(id, 'attempts') or {}
  table.insert(attempts, { number = number, worker = worker, started = now })
  put(id, 'attempts', attempts)
end

function Queue.close_attempt(id, outcome)
  local attempts = get(id, 'attempts') or {}
  local attempt = attempts[#attempts]
  if attempt and not attempt.ended then
    attempt.ended, attempt.outcome = now, outcome
    put(id, 'attempts', attempts)
  end
end

-- A model that was removed and came back is another one: generations hash {lane → how often it was removed}. Runs, and
-- jobs whose inputs are elsewhere, remember theirs. Work that an older release took in has none, and belongs to any.

function Queue.generation_of(lane)
  return once('HGET', P .. 'generations', lane) or '0'
end

-- The lane of the work's model where that was removed since the work was taken in; else nil.
function Queue.superseded(id)
  local lane, model_lane, own = fields(id, 'lane', 'model_lane', 'generation')
  local model = model_lane or lane
  return own and own ~= Queue.generation_of(model) and model or nil
end

-- Whose turn it is in one lane: fair between callers by cost, weighted 16:4:1 between classes.
--   line:<lane>:<class>:<caller>  zset  that caller's work, by arrival
--   turns:<lane>:<class>          zset  callers with work, by the tag at which their first piece would be done
--   spent:<lane>:<class>          zset  callers without work, by the tag from which they would go on
--   clock:<lane>                  hash  now, <class> and <class>:now: how far the lane, each class and its callers
--                                       have come
-- Self-clocked fair queueing (Golestani, INFOCOM 1994), once between the classes and once within each. Its shares
-- are those of deficit round robin, without a ring to walk: the next piece is the lowest tag.

Queue.CLASSES = { 'interactive', 'normal', 'batch' }

-- By how much a piece of cost 1 moves its class's clock: 16 interactive pieces run for 4 normal ones and 1 of a batch.
Queue.PACE = { interactive = 1, normal = 4, batch = 16 }

-- Work that was begun once is not charged for again.
local function cost_of(id)
  return tonumber(get(id, 'due') or 1)
end

function Queue.line_key(lane, class, caller)
  return P .. 'line:' .. lane .. ':' .. class .. ':' .. caller
end

function Queue.turns_key(lane, class)
  return P .. 'turns:' .. lane .. ':' .. class
end

local function spent_key(lane, class)
  return P .. 'spent:' .. lane .. ':' .. class
end

function Queue.first_of(line)
  return call('ZRANGE', line, 0, 0)[1]
end

local function tag(value)
  return string.format('%.17g', value)
end

-- The tag from which a caller without work goes on.
local function fresh_start(lane, class, caller)
  local clock = P .. 'clock:' .. lane
  if call('EXISTS', Queue.turns_key(lane, class)) == 0 then
    local own, now_tag = unpack(call('HMGET', clock, class, 'now'))
    call('HSET', clock, class, tag(math.max(tonumber(own or 0), tonumber(now_tag or 0))))
  end
  local owed = call('ZSCORE', spent_key(lane, class), caller)
  call('ZREM', spent_key(lane, class), caller)
  return math.max(tonumber(call('HGET', clock, class .. ':now') or 0), tonumber(owed or 0))
end

local function join_line(id, lane, class, caller, arrival)
  local line, turns = Queue.line_key(lane, class, caller), Queue.turns_key(lane, class)
  local before = Queue.first_of(line)
  local known = before and call('ZSCORE', turns, caller)
  local start = known and tonumber(known) - cost_of(before) or fresh_start(lane, class, caller)
  call('ZADD', line, arrival, id)
  call('ZADD', turns, tag(start + cost_of(before and Queue.first_of(line) or id)), caller)
end

-- A caller's first piece went, and its next one starts at `start`.
local function go_on(lane, class, caller, start)
  local following = Queue.first_of(Queue.line_key(lane, class, caller))
  if following then
    call('ZADD', Queue.turns_key(lane, class), tag(start + cost_of(following)), caller)
  else
    call('ZREM', Queue.turns_key(lane, class), caller)
    call('ZADD', spent_key(lane, class), tag(start), caller)
  end
end

function Queue.quit_line(id, lane, class, caller)
  local line = Queue.line_key(lane, class, caller)
  local known = Queue.first_of(line) == id and call('ZSCORE', Queue.turns_key(lane, class), caller)
  if call('ZREM', line, id) == 1 and known then
    go_on(lane, class, caller, tonumber(known) - cost_of(id))
  end
end

-- Whose turn it is, and at which tag the piece will be done: {id, class, caller, tag, finish}; nil where no line is.
function Queue.next_turn(lane)
  local best
  for _, class in ipairs(Queue.CLASSES) do
    local caller, done = unpack(call('ZRANGE', Queue.turns_key(lane, class), 0, 0, 'WITHSCORES'))
    local id = caller and Queue.first_of(Queue.line_key(lane, class, caller))
    if id then
      local own = tonumber(call('HGET', P .. 'clock:' .. lane, class) or 0)
      local finish = own + cost_of(id) * Queue.PACE[class]
      if not best or finish < best.finish then
        best = { id = id, class = class, caller = caller, tag = tonumber(done), finish = finish }
      end
    end
  end
  return best
end

function Queue.take_turn(lane, turn)
  local class = turn.class
  call('ZREM', Queue.line_key(lane, class, turn.caller), turn.id)
  call('HSET', P .. 'clock:' .. lane, 'now', tag(turn.finish), class, tag(turn.finish),
    class .. ':now', tag(turn.tag))
  call('ZREMRANGEBYSCORE', spent_key(lane, class), '-inf', '(' .. tag(turn.tag))
  go_on(lane, class, turn.caller, turn.tag)
end

-- Forgets all turns: where nobody waits, nobody is owed anything.
function Queue.forget_turns(lane)
  call('DEL', P .. 'clock:' .. lane)
  for _, class in ipairs(Queue.CLASSES) do
    call('DEL', spent_key(lane, class))
  end
end

-- What waits in one lane. Each piece of work stands in queue:<lane> (by class, then arrival, to be counted and found),
-- and also in its caller's line or, after deaths, in suspects:<lane>, from which one worker at a time takes
-- a piece alone.

-- After this many workers died on it, alone or beside other work, a piece of work is tried alone.
local SUSPECT_DEATHS = 2

function Queue.rank(priority)
  return priority == 'interactive' and 0 or priority == 'batch' and 2 or 1
end

function Queue.is_suspect(id)
  return tonumber(get(id, 'deaths') or 0) >= SUSPECT_DEATHS
end

function Queue.stand(id, lane)
  local class, caller, arrival, deaths, rows =
    fields(id, 'priority', 'caller', 'arrival', 'deaths', 'rows')
  if call('ZADD', P .. 'queue:' .. lane, string.format('%.0f', Queue.rank(class) * 1e14 + arrival), id) == 1 then
    count_rows('queue:' .. lane, rows, 1)
  end
  call('SADD', P .. 'lanes', lane)
  if tonumber(deaths or 0) >= SUSPECT_DEATHS then
    call('ZADD', P .. 'suspects:' .. lane, arrival, id)
  else
    join_line(id, lane, class, caller, arrival)
  end
  local removed = Queue.superseded(id)
  if removed then
    -- The work comes back after its model was removed: perhaps only the sweep will ever look at it.
    call('SADD', P .. 'removing', removed)
  end
end

function Queue.withdraw(id, lane)
  local waited = call('ZREM', P .. 'queue:' .. lane, id) == 1
  local suspect = call('ZREM', P .. 'suspects:' .. lane, id) == 1
  if waited then
    local class, caller, rows = fields(id, 'priority', 'caller', 'rows')
    count_rows('queue:' .. lane, rows, -1)
    -- Where the record is gone the line is unknown; claim drops the entry there.
    if class and not suspect then
      Queue.quit_line(id, lane, class, caller)
    end
  end
  if call('EXISTS', P .. 'queue:' .. lane) == 0 then
    Queue.forget_turns(lane)
  end
end

function Queue.enqueue(id, lane)
  local arrival = call('INCR', P .. 'arrivals')
  put(id, 'state', 'queued', 'queued_at', now, 'arrival', arrival)
  Queue.stand(id, lane)
end

-- Changes the class of work that may be waiting; it keeps its arrival.
function Queue.reclass(id, lane, priority)
  local waiting = call('ZSCORE', P .. 'queue:' .. lane, id)
  if waiting then
    Queue.withdraw(id, lane)
  end
  put(id, 'priority', priority)
  if waiting then
    Queue.stand(id, lane)
  end
end

function Queue.leave_lease(id, lane, reason)
  unlease(id, lane)
  remove(id, 'token', 'worker', 'company')
  Queue.close_attempt(id, reason)
  if is_run(id) then
    Events.emit(id, 'requeued', cjson.encode({ reason = reason }))
  end
end

-- Puts leased work back at its old place in the line.
function Queue.requeue(id, reason)
  local lane = get(id, 'lane')
  Queue.leave_lease(id, lane, reason)
  put(id, 'state', 'queued', 'queued_at', now)
  Queue.stand(id, lane)
  return lane
end

-- Keeps work out of the line until `due` (Unix ms).
function Queue.postpone(id, state, due)
  put(id, 'state', state, 'queued_at', now)
  call('ZADD', P .. 'schedule', due, id)
end

-- Scheduled jobs count for their model and caller as if they waited: later:<lane> hash, '' is the sum.
function Queue.count_later(job, step)
  local lane, caller = fields(job, 'model_lane', 'caller')
  for _, field in ipairs({ '', caller }) do
    if call('HINCRBY', P .. 'later:' .. lane, field, step) <= 0 then
      call('HDEL', P .. 'later:' .. lane, field)
    end
  end
end

-- The count of workers that died on a piece of work.

-- Counts one more worker that died on this work, alone with it or beside other claims. True where the budget is spent.
function Queue.count_death(id)
  increase(id, 'deaths', 1)
  local alone = get(id, 'company') and 0 or 1
  return increase(id, 'deaths_alone', alone) >= a.max_deaths
end

-- The longest pause between two attempts at a run; the settings bound the backoff alike.
Queue.LONGEST_PAUSE_MS = 60000

-- What estimates.lua asks of a lane: fields of its hash, as numbers, and the runs claimed with the rows that they take.
local LANE = { 'rows', 'slots', 'service_ms', 'free_p50', 'free_p90', 'busy_p50', 'busy_p90', 'epoch', 'scored', 'within_p50',
  'within_p90' }

function Queue.lane(lane)
  local known = {}
  for name, value in pairs(fields_at(P .. 'lane:' .. lane, LANE)) do
    known[name] = tonumber(value)
  end
  known.running = once('SCARD', P .. 'running:' .. lane)
  known.running_rows = known.running + extra_rows('running:' .. lane)
  return known
end

-- How many pieces are begun before the one that has or would have `own` pieces of its caller's before it.
function Queue.ahead(lane, class, caller, own)
  local waiting = {}
  for i, other in ipairs(Queue.CLASSES) do
    waiting[other] = call('ZCOUNT', P .. 'queue:' .. lane, (i - 1) * 1e14, '(' .. string.format('%.0f', i * 1e14))
  end
  local line, callers = call('ZCARD', Queue.line_key(lane, class, caller)), call('ZCARD', Queue.turns_key(lane, class))
  if line <= own then
    waiting[class] = waiting[class] + 1
  end
  return Estimates.ahead(waiting, class, own, line == 0 and callers + 1 or callers)
end
