-- One consistent read of a job, its run and its lane, as flat lists; nil where there is no such job.
-- @include outlook
-- @include alive

-- Never its secret.
local HOOK_FIELDS = { 'url', 'events', 'delivered' }
local STATE_FIELDS = { 'state', 'started', 'seq', 'hash' }
local RUN_FIELDS = { 'state', 'started', 'result', 'seq', 'hash', 'job', 'caller', 'created', 'first', 'ended', 'attempt', 'from', 'origin' }

local function lane_view(lane)
  local fresh = alive_since()
  local facts = redis.call('HGETALL', P .. 'lane:' .. lane)
  table.insert(facts, 'ready')
  table.insert(facts, redis.call('ZCOUNT', P .. 'ready:' .. lane, fresh, '+inf'))
  table.insert(facts, 'loading')
  table.insert(facts, redis.call('ZCOUNT', P .. 'loading:' .. lane, fresh, '+inf'))
  table.insert(facts, 'queued')
  table.insert(facts, redis.call('ZCARD', P .. 'queue:' .. lane))
  table.insert(facts, 'running')
  table.insert(facts, redis.call('SCARD', P .. 'running:' .. lane))
  local queued, running = unpack(redis.call('HMGET', P .. 'extra', 'queue:' .. lane, 'running:' .. lane))
  add(facts, 'extra_queued', queued)
  add(facts, 'extra_running', running)
  table.insert(facts, 'paused')
  table.insert(facts, redis.call('SISMEMBER', P .. 'paused', lane))
  table.insert(facts, 'draining')
  table.insert(facts, redis.call('SISMEMBER', P .. 'draining', lane))
  table.insert(facts, 'now')
  table.insert(facts, now)
  return facts
end

-- How many pieces are begun before this one; -1 where it does not stand in this lane's queue.
local function ahead_of(id, lane)
  if ahead[id] then
    return ahead[id]
  end
  if not redis.call('ZSCORE', P .. 'queue:' .. lane, id) then
    return -1
  end
  local class, caller = unpack(redis.call('HMGET', P .. id, 'priority', 'caller'))
  local own = redis.call('ZRANK', line_key(lane, class, caller), id)
  return own and served_first(lane, class, caller, own) or redis.call('ZRANK', P .. 'suspects:' .. lane, id)
end

local function fields_of(key, names)
  local values, found = redis.call('HMGET', key, unpack(names)), {}
  for i, name in ipairs(names) do
    if values[i] then
      table.insert(found, name)
      table.insert(found, values[i])
    end
  end
  return found
end

-- `bare` = without the answer, which may be hundreds of times the rest.
local function view(job, bare)
  local record = redis.call('HGETALL', P .. job)
  if #record == 0 then
    return nil
  end
  local fields = {}
  for i = 1, #record, 2 do
    fields[record[i]] = record[i + 1]
  end
  -- Held while the job waits for its inputs or its time: no view shows it, and it may be thousands of times the rest.
  if fields.request then
    fields.request, fields.terms, record = nil, nil, {}
    for name, value in pairs(fields) do
      add(record, name, value)
    end
  end
  local run, lane, attempts = {}, {}, {}
  if fields.run then
    run = fields_of(P .. fields.run, bare and STATE_FIELDS or RUN_FIELDS)
    attempts = redis.call('LRANGE', P .. fields.run .. ':attempts', 0, -1)
  elseif fields.status then
    attempts = redis.call('LRANGE', P .. job .. ':attempts', 0, -1)
  end
  if not fields.status then
    lane = lane_view(fields.model_lane)
    table.insert(lane, 'ahead')
    table.insert(lane, ahead_of(fields.run or job, fields.model_lane))
  end
  local hook, deliveries = fields_of(P .. job .. ':hook', HOOK_FIELDS), {}
  if #hook > 0 then
    deliveries = redis.call('LRANGE', P .. job .. ':deliveries', 0, -1)
  end
  return { job, record, run, lane, attempts, hook, deliveries }
end
