-- Longer than any outage that a worker outlives: after one, its last beat tells whether it was alive before.
local KEPT_S = 86400

-- Records that a worker lives, and what it says of itself and its lane.
--   a      worker, lane, state (loading | ready | gone), print, row (see claims.lua), worker_ttl_s, lease_ms, gap_ms,
--          grace_ms, facts (flat map kept on the lane; load_passed_ms is kept as the moment at which the load began),
--          record (flat map kept of the worker while it lives)
--   writes ready:<lane>, loading:<lane>, prints:<lane> zsets, lane:<lane> and worker:<worker> hashes, watched, spared
--          and emptying:<lane> strings, gap hash, and what upkeep.lua writes
--   returns OK | outdated (its model has another row by now: the worker counts as gone) | forgotten (the worker is ready,
--           but the store lost what was said of the lane: it is to be said again)
transition('beat', { 'allow-oom' }, function()
  Upkeep.watch()
  if Claims.outdated() then
    for _, state in ipairs({ 'ready', 'loading' }) do
      call('ZREM', P .. state .. ':' .. a.lane, a.worker)
    end
    call('DEL', P .. 'worker:' .. a.worker)
    return 'outdated'
  end
  local old = Estimates.alive_since()
  -- A clock that was set back.
  local ahead = '(' .. now
  local was_ready = call('ZSCORE', P .. 'ready:' .. a.lane, a.worker)
  local ready_before = call('ZCOUNT', P .. 'ready:' .. a.lane, old, '+inf')
  for _, state in ipairs({ 'ready', 'loading' }) do
    local key = P .. state .. ':' .. a.lane
    call('ZREMRANGEBYSCORE', key, '-inf', old)
    call('ZREMRANGEBYSCORE', key, ahead, '+inf')
    if state == a.state then
      call('ZADD', key, now, a.worker)
      call('EXPIRE', key, KEPT_S)
    else
      call('ZREM', key, a.worker)
    end
  end
  local record = P .. 'worker:' .. a.worker
  if a.state == 'gone' then
    call('DEL', record)
  else
    for name, value in pairs(a.record) do
      call('HSET', record, name, value)
    end
    call('PEXPIRE', record, math.ceil(a.worker_ttl_s * 1000))
  end
  -- A worker that makes itself empty for a suspect (`claim`) is waited for while it is ready and a suspect waits.
  local EMPTYING = P .. 'emptying:' .. a.lane
  if call('GET', EMPTYING) == a.worker then
    local goes_on = a.state == 'ready' and call('EXISTS', P .. 'suspects:' .. a.lane) == 1
    call('PEXPIRE', EMPTYING, goes_on and a.lease_ms or 0)
  end
  -- Waits while no worker was ready say nothing about the estimates.
  if a.state == 'ready' and ready_before == 0 then
    Estimates.begin_epoch(a.lane)
  end
  if was_ready and a.state ~= 'ready' and a.print ~= '' then
    -- Its answers are no longer read from the cache, unless another worker of this fingerprint says that it lives.
    call('ZADD', P .. 'prints:' .. a.lane, now - a.worker_ttl_s * 1000 - 1, a.print)
  end
  if a.state == 'ready' then
    local key = P .. 'prints:' .. a.lane
    call('ZADD', key, now, a.print)
    call('ZREMRANGEBYSCORE', key, '-inf', now - KEPT_S * 1000)
    call('EXPIRE', key, KEPT_S)
  end
  -- The lane's facts are kept while any worker serves it, even if no request comes.
  if a.state ~= 'gone' then
    call('EXPIRE', P .. 'lane:' .. a.lane, Estimates.LANE_LIFE_S)
  end
  -- The moments of a load are by the store's clock: the workers' clocks may differ.
  local passed = a.facts.load_passed_ms
  a.facts.load_passed_ms = nil
  if passed then
    Estimates.note(a.lane, 'load_started_ms', now - passed)
  end
  for name, value in pairs(a.facts) do
    if value == '' then
      call('HDEL', P .. 'lane:' .. a.lane, name)
    else
      Estimates.note(a.lane, name, value)
    end
  end
  -- What is told once, as a model is loaded: its rows come with every beat.
  if a.state == 'ready' and call('HEXISTS', P .. 'lane:' .. a.lane, 'engine') == 0 then
    return 'forgotten'
  end
  return 'OK'
end)

-- queue:<lane> has each class in a range of its own (`rank` in queue.lua).
local function waiting(lane)
  local counts, oldest = {}, 0
  for i, class in ipairs(Queue.CLASSES) do
    local low, high = string.format('%.0f', Queue.rank(class) * 1e14), string.format('(%.0f', (Queue.rank(class) + 1) * 1e14)
    counts[i] = call('ZCOUNT', P .. 'queue:' .. lane, low, high)
    local first = call('ZRANGEBYSCORE', P .. 'queue:' .. lane, low, high, 'LIMIT', 0, 1)[1]
    local since = first and tonumber(get(first, 'created') or now)
    if since and (oldest == 0 or since < oldest) then
      oldest = since
    end
  end
  return counts, oldest
end

local function workers(lane)
  local found = {}
  for _, state in ipairs({ 'ready', 'loading' }) do
    for _, id in ipairs(call('ZRANGEBYSCORE', P .. state .. ':' .. lane, Estimates.alive_since(), '+inf')) do
      table.insert(found, { id, state, call('HGETALL', P .. 'worker:' .. id) })
    end
  end
  return found
end

-- Work in no model's line: scheduled, between two attempts, or waiting for its inputs. Beyond this many entries a lane
-- is taken to have such work.
local LOOKED_AT = 1000

local function is_elsewhere(lane)
  local fetched = call('SMEMBERS', P .. 'running:intake')
  for _, ids in ipairs({ fetched, call('ZRANGE', P .. 'queue:intake', 0, LOOKED_AT),
    call('ZRANGE', P .. 'schedule', 0, LOOKED_AT) }) do
    for _, id in ipairs(ids) do
      local own, model_lane = fields(id, 'lane', 'model_lane')
      if (model_lane or own) == lane then
        return true
      end
    end
    if #ids > LOOKED_AT then
      return true
    end
  end
  return false
end

local function is_drained(lane)
  return call('SISMEMBER', P .. 'draining', lane) == 1 and call('EXISTS', P .. 'queue:' .. lane) == 0
    and call('EXISTS', P .. 'running:' .. lane) == 0 and not is_elsewhere(lane)
end

-- Reads what waits and who works, model by model.
--   a       lanes {lane, …}, worker_ttl_s
--   returns for each lane {lane_view, waiting by class {interactive, normal, batch}, arrival of the oldest that waits
--           (Unix ms, 0 = nothing waits), workers {{id, state, record}, …}, drained (1 = the lane takes nothing new,
--           and nothing is left)}
transition('fleet', { 'no-writes' }, function()
  local told = {}
  for _, lane in ipairs(a.lanes) do
    local counts, oldest = waiting(lane)
    table.insert(told, { Jobs.lane_view(lane), counts, oldest, workers(lane), is_drained(lane) and 1 or 0 })
  end
  return told
end)
