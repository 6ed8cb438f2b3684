-- What is known of each lane, a model's line or `intake`: its workers, loads, marks and model.
--   lane:<lane>     hash  q: JSON of counts and clocks (fair_queue.lua), what estimates.lua learnt, operators' marks
--                         (paused, draining, removed), when one unloaded the model (unload_at, until the next request),
--                         when a caller was last refused because no worker was ready (wanted); and what workers report
--   lanes           set   lanes in which anything ever waited
--   ready:<lane>, loading:<lane>, prints:<lane>  zset  workers, and fingerprints of their models, by last beat
--   cold:<lane>     zset  nodes that load the model on request, by last beat; node:all: all nodes
--   asked           zset  cold lanes that callers asked for since nodes last foresaw their loads, by when
--   worker:<id>     hash  what a worker reports of itself
--   lost:<lane>     zset  work of workers that vanished, by when it was taken back; the last quarter of an hour
--   models          hash  lane → row (JSON) of a model that no models file names; removed, removing: sets of lanes

local FACTS = { 'rows', 'slots', 'service_ms' }
local PLACE = { rows = 2, slots = 3, service_ms = 4 } -- in lane.facts, behind `q`

-- What a view has only if no worker is ready.
local LOAD = { 'load_started_ms', 'load_ms', 'load_guess_ms', 'load_basis', 'load_in_ms', 'failed' }

local zeros = { __index = { n1 = 0, n2 = 0, n3 = 0, x1 = 0, x2 = 0, x3 = 0, s1 = 0, s2 = 0, s3 = 0, v1 = 0, v2 = 0,
  v3 = 0, clock = 0, cost = 0, arrivals = 0, wide_queued = 0, wide_running = 0, later = 0, generation = 0, epoch = 0 } }

-- A lane as one table for the whole call: marks, and counts, by default 0. The call's end writes it if it was
-- `changed`.
function Lanes.of(name)
  memo.lanes = memo.lanes or {}
  local lane = memo.lanes[name]
  if not lane then
    local values = call('HMGET', P .. 'lane:' .. name, 'q', unpack(FACTS))
    lane = decoded(values[1] or '{}') or {}
    setmetatable(lane, { __index = setmetatable({ name = name, facts = values }, zeros) })
    memo.lanes[name] = lane
  end
  return lane
end

function Lanes.fact(lane, name)
  return tonumber(lane.facts[PLACE[name]] or nil)
end

local function save(lane)
  if lane.changed and writable then
    lane.changed = nil
    for name, value in pairs(lane) do
      if value == 0 then
        lane[name] = nil
      end
    end
    lane.facts[1] = next(lane) and cjson.encode(lane) or '{}'
    call('HSET', P .. 'lane:' .. lane.name, 'q', lane.facts[1])
  end
end

function Lanes.save()
  for _, lane in pairs(memo.lanes) do
    save(lane)
  end
end

-- Begins a new epoch of a lane, in which earlier estimates are not scored.
function Lanes.begin_epoch(lane)
  lane.epoch, lane.changed = lane.epoch + 1, true
end

-- Sets or takes away a mark, with the operator's name and the time.
function Lanes.mark(name, mark, on)
  local lane = Lanes.of(name)
  if (lane[mark] or false) ~= on then
    if mark == 'paused' and not on then
      lane.pause = { lane.paused_at, now }
    end
    lane[mark], lane[mark .. '_at'] = on or nil, on and now or nil
    lane[mark .. '_by'] = on and a.operator or nil
    Lanes.begin_epoch(lane)
  end
end

-- The ms of the last pause that work queued at that time has waited.
function Lanes.paused_ms(lane, queued_at)
  local from, till = unpack(lane.pause or { 0, 0 })
  return math.max(0, till - math.max(from, queued_at))
end

function Lanes.ready(lane)
  local facts = lane.facts
  facts.ready = facts.ready or call('ZCOUNT', P .. 'ready:' .. lane.name, Upkeep.alive_since(), '+inf')
  return facts.ready
end

function Lanes.running(lane)
  local facts = lane.facts
  facts.running = facts.running or call('ZCARD', P .. 'lease:' .. lane.name)
  if facts.running == 0 and lane.wide_running > 0 then
    lane.wide_running, lane.changed = 0, true
  end
  return facts.running
end

function Lanes.loading(lane)
  return call('ZCOUNT', P .. 'loading:' .. lane.name, Upkeep.alive_since(), '+inf')
end

-- How many nodes load it on request.
function Lanes.cold(lane)
  return call('ZCOUNT', P .. 'cold:' .. lane.name, Upkeep.alive_since(), '+inf')
end

local ASKED_MS = 10000

-- Notes that a cold model was asked for, until a node foresees its load.
function Lanes.ask(lane)
  if Lanes.loading(lane) == 0 and Lanes.cold(lane) > 0 then
    call('ZADD', P .. 'asked', 'NX', now, lane.name)
    call('PEXPIRE', P .. 'asked', ASKED_MS)
  end
end

-- Milliseconds until a node begins to load a cold model: as foreseen, and after models asked for since then and before
-- it, whose loads the nodes share. nil if unforeseen.
function Lanes.load_in_ms(lane)
  local ms, turns = tonumber(call('HGET', P .. 'lane:' .. lane.name, 'load_in_ms') or nil), 0
  for _, name in ipairs(call('ZRANGE', P .. 'asked', 0, -1)) do
    if name == lane.name then
      break
    end
    turns = turns + (call('HGET', P .. 'lane:' .. name, 'load_turn_ms') or 0)
  end
  return turns > 0 and (ms or 0) + turns / math.max(Lanes.cold(lane), 1) or ms
end

-- Facts of a lane, a flat list, with the number of its nodes and when they load it.
local function with_nodes(lane, facts)
  local ms = Lanes.load_in_ms(lane)
  add(facts, 'cold', Lanes.cold(lane))
  add(facts, 'load_in_ms', ms and string.format('%.0f', ms))
  return facts
end

-- A refused caller counts as demand for this long; refusals within a second are noted once.
local WANTED_MS, NOTED_MS = 60000, 1000

-- Notes that a caller was refused because no worker is ready.
function Lanes.want(lane)
  if math.abs(now - (lane.wanted or 0)) >= NOTED_MS then
    lane.wanted, lane.changed = now, true
    lane.unload_at, lane.unload_by = nil, nil
    Lanes.ask(lane)
  end
end

-- What is known of a lane: {ready workers, loading ones (0 if any is ready), how much runs, now, pieces that begin
-- `ahead` of a certain one (-1 = unknown), {its `q` and FACTS}, and if no worker is ready LOAD, a flat list}.
function Lanes.view(lane, ahead)
  save(lane)
  local ready = Lanes.ready(lane)
  local view = { ready, 0, Lanes.running(lane), now, ahead or -1, lane.facts }
  if ready == 0 then
    view[2], view[7] = Lanes.loading(lane), with_nodes(lane, flat(fields_at(P .. 'lane:' .. lane.name, LOAD)))
  end
  return view
end

-- The same of one model for its page, with all of its record, a flat list.
local function facts_of(name)
  local lane = Lanes.of(name)
  local view = Lanes.view(lane)
  view[2], view[7] = Lanes.loading(lane), with_nodes(lane, call('HGETALL', P .. 'lane:' .. name))
  return view
end

local LOOKED_AT = 8 -- callers of a class, next in turn, and as many that are last

-- Returns when the work was created and queued that waits longest, of the callers looked at and suspects.
local function oldest(lane)
  local created, queued_at
  local function look(key)
    local id = call('ZRANGE', key, 0, 0)[1]
    local work = id and stored(id)
    if work and (not created or work.created < created) then
      created, queued_at = work.created, work.queued_at
    end
  end
  for class = 1, 3 do
    local turns = FairQueue.turns_key(lane.name, class)
    for _, range in ipairs(lane[FairQueue.WAITING[class]] > 0 and { { 0, LOOKED_AT - 1 }, { -LOOKED_AT, -1 } } or {}) do
      for _, caller in ipairs(call('ZRANGE', turns, unpack(range))) do
        look(FairQueue.line_key(lane.name, class, caller))
      end
    end
  end
  if lane.x1 + lane.x2 + lane.x3 > 0 then
    look(P .. 'suspects:' .. lane.name)
  end
  return created, queued_at
end

-- Reads what is known of one model, and since when the first of its line waits.
transition('lane', { 'no-writes' }, function()
  local facts, _, since = facts_of(a.lane), oldest(Lanes.of(a.lane))
  add(facts[7], 'first_queued_ms', since)
  return facts
end)

Lanes.LOST_S = 900 -- seconds for which work of workers that vanished is counted

local function workers(lane)
  local found = {}
  for _, state in ipairs({ 'ready', 'loading' }) do
    for _, id in ipairs(call('ZRANGEBYSCORE', P .. state .. ':' .. lane, Upkeep.alive_since(), '+inf')) do
      table.insert(found, { id, state, call('HGETALL', P .. 'worker:' .. id) })
    end
  end
  return found
end

-- Jobs looked at for work in no model's line: between two attempts, or in intake. With more open, a lane counts as
-- busy.
local ELSEWHERE = 500

local function is_elsewhere(lane)
  local jobs = call('ZRANGE', P .. 'deadlines', 0, ELSEWHERE)
  for _, id in ipairs(jobs) do
    local json = raw(id)
    if json and field_of(json, 'model_lane":') == lane then
      return true
    end
  end
  return #jobs > ELSEWHERE
end

-- Reads for each of `lanes` {facts, waiting by class {interactive, normal, batch}, creation of the oldest that waits
-- (Unix ms, 0 = nothing waits), workers {{id, state, record}, …}, drained (1 = the lane takes nothing new, and nothing
-- is left), runs of workers that vanished lately, when a caller was last refused because no worker was ready (0 = not
-- lately)}.
transition('fleet', { 'no-writes' }, function()
  local fleet = {}
  for _, name in ipairs(a.lanes) do
    local lane, counts = Lanes.of(name), {}
    for class = 1, 3 do
      counts[class] = lane[FairQueue.WAITING[class]] + lane[FairQueue.SUSPECTS[class]]
    end
    local drained = lane.draining and FairQueue.waiting(lane) + Lanes.running(lane) == 0 and not is_elsewhere(name)
    local lost = call('ZCOUNT', P .. 'lost:' .. name, '(' .. now - Lanes.LOST_S * 1000, '+inf')
    local wanted = lane.wanted and now - lane.wanted < WANTED_MS and lane.wanted or 0
    table.insert(fleet, { facts_of(name), counts, oldest(lane) or 0, workers(name), drained and 1 or 0, lost, wanted })
  end
  return fleet
end)

-- Longer than any outage that a worker outlives: after one, its last beat says whether it was alive before.
local KEPT_S = 86400

-- Notes that a worker is ready, loads or is gone, or that a node is there.
local function present(lane, id, state, kinds)
  for _, kind in ipairs(kinds or { 'ready', 'loading' }) do
    local key = P .. kind .. ':' .. lane
    call('ZREMRANGEBYSCORE', key, '-inf', Upkeep.alive_since())
    if kind == state then
      call('ZADD', key, now, id)
      call('EXPIRE', key, KEPT_S)
    else
      call('ZREM', key, id)
    end
  end
end

local COUNTED = 64 -- workers whose mean is taken

-- The mean of a fact of a model's ready workers, which may differ.
local function mean(name, own)
  local sum, count = 0, 0
  local ready = call('ZRANGEBYSCORE', P .. 'ready:' .. a.lane, Upkeep.alive_since(), '+inf', 'LIMIT', 0, COUNTED)
  for _, id in ipairs(ready) do
    sum, count = sum + (call('HGET', P .. 'worker:' .. id, name) or own), count + 1
  end
  return count > 0 and string.format('%.6g', sum / count) or own
end

-- Keeps facts in a hash; '' forgets one.
local function keep(key, facts)
  for name, value in pairs(facts) do
    if value == '' then
      call('HDEL', key, name)
    else
      call('HSET', key, name, value)
    end
  end
end

local function keep_worker()
  keep(P .. 'worker:' .. a.worker, a.record)
  call('PEXPIRE', P .. 'worker:' .. a.worker, math.ceil(S.worker_ttl_s * 1000))
end

-- Records that a worker lives and what it reports: the arguments are those of `beat` in shared/store/workers.py.
-- Returns OK | outdated (its model has another row by now: the worker counts as gone) | forgotten (the worker is ready,
-- but the store lost what was reported of the lane: report it again).
transition('beat', { 'allow-oom' }, function()
  Upkeep.watch()
  local lane, record, prints = Lanes.of(a.lane), P .. 'worker:' .. a.worker, P .. 'prints:' .. a.lane
  if Claims.outdated() then
    present(a.lane, a.worker, 'gone')
    call('DEL', record)
    return 'outdated'
  end
  local was_ready = call('ZSCORE', P .. 'ready:' .. a.lane, a.worker)
  if a.state == 'gone' and not was_ready and Lanes.ready(lane) > 0 then
    -- The model has not failed if a further worker could not load it.
    a.facts.failed = nil
  end
  -- No estimate foresees that a load fails, or that its process dies.
  if (a.facts.failed or '') ~= '' or a.state == 'gone' and call('ZSCORE', P .. 'loading:' .. a.lane, a.worker) then
    Lanes.begin_epoch(lane)
  end
  -- What was promised while no worker was ready rests on this moment (estimates.lua).
  if a.state == 'ready' and Lanes.ready(lane) == 0 then
    Lanes.begin_epoch(lane)
    lane.wanted = nil
    keep(P .. 'lane:' .. a.lane, { resident_ms = now, unloaded = '', unloaded_ms = '' })
  end
  present(a.lane, a.worker, a.state)
  if a.state == 'gone' then
    call('DEL', record)
  else
    keep_worker()
    a.facts.last_worker = cjson.encode({ id = a.worker, host = a.record.host, seen_ms = now })
  end
  -- A worker makes itself empty for a suspect (`claim`) while it lives and a suspect waits.
  local emptying = P .. 'emptying:' .. a.lane
  if call('GET', emptying) == a.worker then
    local goes_on = a.state ~= 'gone' and lane.x1 + lane.x2 + lane.x3 > 0
    call('PEXPIRE', emptying, goes_on and S.lease_ms or 0)
  end
  if lane.removed then
    -- Its cache is not read.
    call('DEL', prints)
  elseif a.state == 'ready' then
    note_time(prints, a.print, KEPT_S)
  elseif was_ready and a.print ~= '' then
    -- Its answers are no longer read from the cache, unless another worker of this fingerprint beats.
    call('ZADD', prints, now - S.worker_ttl_s * 1000 - 1, a.print)
    call('EXPIRE', prints, KEPT_S)
  end
  -- The store's clock dates a load, because the workers' clocks may differ.
  if a.facts.load_passed_ms then
    a.facts.load_started_ms, a.facts.load_passed_ms = now - a.facts.load_passed_ms, nil
  end
  for _, name in ipairs({ 'rows', 'slots' }) do
    local own = a.facts[name]
    a.facts[name] = own and own ~= lane.facts[PLACE[name]] and mean(name, own) or own
  end
  keep(P .. 'lane:' .. a.lane, a.facts)
  -- `engine` is reported once, when a model is loaded; its rows come with every beat.
  local known = a.facts.engine or call('HEXISTS', P .. 'lane:' .. a.lane, 'engine') == 1
  return a.state == 'ready' and not known and 'forgotten' or 'OK'
end)

-- Announces a worker that a node is about to start, unless more than the `known` ones are ready or load: two nodes do
-- not both load what one can serve. Returns OK | taken.
transition('place', { 'allow-oom' }, function()
  Upkeep.watch()
  local beaten = call('ZSCORE', P .. 'ready:' .. a.lane, a.worker)
  if beaten and tonumber(beaten) >= Upkeep.alive_since() then
    return 'OK'
  end
  -- A repeat does not count its own worker.
  present(a.lane, a.worker, 'gone')
  local lane = Lanes.of(a.lane)
  local loading = Lanes.loading(lane)
  if Lanes.ready(lane) + loading > a.known then
    return 'taken'
  elseif loading == 0 then
    keep(P .. 'lane:' .. a.lane, { load_started_ms = now })
  end
  present(a.lane, a.worker, 'loading')
  keep_worker()
  return 'OK'
end)

-- Keeps what a node says of one of its lanes. The wait until a load begins is that of the node where it is shortest.
local function hear(name, facts)
  local gone = a.gone or facts.unfit
  facts.unfit = nil
  present(name, a.node, gone and 'gone' or 'cold', { 'cold' })
  local known = fields_at(P .. 'lane:' .. name, { 'load_in_ms', 'load_in_by' })
  local own, other = not gone and tonumber(facts.load_in_ms) or nil, known.load_in_by ~= a.node and known.load_in_by
  other = other and call('ZSCORE', P .. 'cold:' .. name, other)
  if other and tonumber(known.load_in_ms or math.huge) < (own or math.huge) then
    facts.load_in_ms = nil
  else
    facts.load_in_ms, facts.load_in_by = own or '', own and a.node or ''
  end
  if Lanes.ready(Lanes.of(name)) > 0 then
    facts.unloaded = nil
  elseif facts.unloaded then
    facts.unloaded_ms = now
  end
  keep(P .. 'lane:' .. name, facts)
end

-- Records that a node lives and what it says of `lanes`; see `node_beat` in shared/store/workers.py.
transition('node_beat', { 'allow-oom' }, function()
  Upkeep.watch()
  present('all', a.node, a.gone and 'gone' or 'node', { 'node' })
  call('ZREMRANGEBYSCORE', P .. 'asked', '-inf', a.at_ms or 0)
  for name, facts in pairs(a.lanes) do
    hear(name, facts)
  end
end)

-- Whether work is from before the last removal of its model, which the lane's `generation` counts.
function Lanes.superseded(work)
  return (work.generation or 0) < Lanes.of(work.model_lane or work.lane).generation
end

-- Reads {rows of models that operators added (flat list of lane and row), lanes of removed models, lanes where work
-- from before a removal may still wait (flat list of lane and generation)}.
transition('models', { 'no-writes' }, function()
  local removing = {}
  for _, lane in ipairs(call('SMEMBERS', P .. 'removing')) do
    add(removing, lane, string.format('%.0f', Lanes.of(lane).generation))
  end
  return { call('HGETALL', P .. 'models'), call('SMEMBERS', P .. 'removed'), removing }
end)

-- Serves a model: one that no models file names, with its row (JSON), or one that was removed. Returns added |
-- unchanged | conflict (it is served with another row).
transition('model_add', { 'allow-oom' }, function()
  local lane, removed = Lanes.of(a.lane), call('SREM', P .. 'removed', a.lane) == 1
  local before = call('HGET', P .. 'models', a.lane)
  local other = a.row and before and before ~= a.row
  if other and not removed then
    return 'conflict'
  elseif other then
    -- What is known of the former model under this id is wrong, and its workers go. `q` is written at the end.
    call('DEL', P .. 'ready:' .. a.lane, P .. 'loading:' .. a.lane, P .. 'lane:' .. a.lane)
    lane.factors = nil
  end
  if a.row then
    call('HSET', P .. 'models', a.lane, a.row)
  end
  local changed = removed or a.row and not before
  if changed then
    -- A model that could not be loaded may be mended by now; a pause or drain was meant for the former one.
    call('HDEL', P .. 'lane:' .. a.lane, 'failed')
    -- Its nodes learn of it within a second.
    call('ZUNIONSTORE', P .. 'cold:' .. a.lane, 1, P .. 'node:all')
    call('EXPIRE', P .. 'cold:' .. a.lane, KEPT_S)
    for _, mark in ipairs({ 'paused', 'draining', 'removed' }) do
      Lanes.mark(a.lane, mark, false)
    end
    Lanes.begin_epoch(lane)
  end
  return changed and 'added' or 'unchanged'
end)

-- Removes a model: from now on nothing is admitted or begun for it. What runs may finish; `model_sweep` ends what
-- waits, even if the model is served again before that. Its row is kept, to say what was removed.
transition('model_remove', { 'allow-oom' }, function()
  if call('SADD', P .. 'removed', a.lane) == 1 then
    local lane = Lanes.of(a.lane)
    lane.generation = lane.generation + 1
    call('SADD', P .. 'removing', a.lane)
    -- Its cache is not read until it is served again and has a worker.
    call('DEL', P .. 'prints:' .. a.lane)
    Lanes.mark(a.lane, 'paused', false)
    Lanes.mark(a.lane, 'draining', false)
    Lanes.mark(a.lane, 'removed', true)
  end
end)

-- Ends work of `jobs`, a step of a walk over all, that waits since before its model was removed. The last step says as
-- `done` at which generation the walk began, and ends the removal. Returns how many ended.
transition('model_sweep', { 'allow-oom' }, function()
  local ended = 0
  each(P .. 'deadlines', a.jobs, function(id)
    local job = read(id)
    if not job or job.status or job.model_lane ~= a.lane then
      return
    end
    local work = job.leader and stored(job.leader) or not job.leader and job
    if not work then
      Runs.leave(job, 'failed')
    elseif Runs.goes_on(work) and work.state ~= 'running' and Lanes.superseded(work) then
      Runs.fail_work(work, S.removed)
      ended = ended + 1
    end
  end)
  if a.done and a.done == string.format('%.0f', Lanes.of(a.lane).generation) then
    call('SREM', P .. 'removing', a.lane)
  end
  return ended
end)

-- Notes that an operator unloads a model: its nodes stop its workers, and load it again for the next request.
transition('unload', { 'allow-oom' }, function()
  local lane = Lanes.of(a.lane)
  lane.unload_at, lane.unload_by = now, a.operator
  Lanes.begin_epoch(lane)
end)

-- Sets or clears `marks` of a lane: paused (nothing of it is claimed), draining (it takes no new jobs).
transition('mark', { 'allow-oom' }, function()
  for mark, on in pairs(a.marks) do
    Lanes.mark(a.lane, mark, on)
  end
end)
