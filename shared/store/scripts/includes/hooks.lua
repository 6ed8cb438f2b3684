-- What is told of a job: to its own webhook, <job>:hook hash (url, host, events, secret; delivered, disabled), and
-- unless it is `quiet` to its caller's endpoints and log. Its notices are <job>:began and <job>:ended.
-- @include notices

-- What a job shows at its end and is told, too; `started` as its attempts say.
local SHOWN = { 'model', 'status', 'created', 'ended', 'cache', 'metadata', 'error', 'paths', 'retry_of', 'run' }

-- A job as it stands now, and its answer: the record of either may be gone when this is told.
local function seen(job)
  local values, facts = redis.call('HMGET', P .. job, unpack(SHOWN)), {}
  for i, name in ipairs(SHOWN) do
    facts[name] = values[i] or nil
  end
  local started, result, bare =
    unpack(facts.run and redis.call('HMGET', P .. facts.run, 'started', 'result', 'bare') or {})
  facts.started = started or nil
  local fields = { 'facts', cjson.encode(facts) }
  local life_s, request_id, trace = unpack(redis.call('HMGET', P .. job, 'retain_s', 'request_id', 'trace'))
  for name, value in pairs({ request_id = request_id or nil, trace = trace or nil }) do
    table.insert(fields, name)
    table.insert(fields, value)
  end
  if life_s and tonumber(life_s) < a.event_s then
    table.insert(fields, 'life_s')
    table.insert(fields, life_s)
  end
  if facts.status == 'succeeded' and result then
    table.insert(fields, 'result')
    table.insert(fields, bare or result)
  end
  return fields
end

-- Tells what has happened to a job to all who want to know.
local function announce(job, kind, status)
  local type = 'job.' .. status
  local caller, quiet = unpack(redis.call('HMGET', P .. job, 'caller', 'quiet'))
  if not caller then
    -- A run may know of a job whose record is gone.
    return
  end
  local host, events, disabled = unpack(redis.call('HMGET', P .. job .. ':hook', 'host', 'events', 'disabled'))
  local targets = quiet and {} or targets_of(caller, type)
  if host and not disabled and names(events, type) then
    targets.own = host
  end
  local logged = kind == 'ended' and not quiet
  if logged or next(targets) then
    give_notice(job .. ':' .. kind, caller, type, seen(job), targets, logged)
  end
end

local function drop_notices(job)
  drop_notice(job .. ':began')
  drop_notice(job .. ':ended')
end
