-- Tells what happens to a job: to its own webhook, <job>:hook hash (url, host, events, secret; delivered, disabled), and
-- unless the job is `quiet` to its caller's endpoints and log. Its notices are <job>:began and <job>:ended.
-- @include notices

-- All fields of a job, and of the run that answered it, that anything told of its end needs: read once.
local JOB_TOLD = { 'caller', 'model', 'priority', 'status', 'created', 'ended', 'cache', 'metadata', 'error', 'paths', 'retry_of',
  'run', 'attempt', 'retain_s', 'unstored', 'idem', 'quiet', 'batch', 'line', 'model_lane', 'request_id',
  'trace' }
local RUN_TOLD = { 'created', 'started', 'attempt', 'seq', 'result', 'bare' }
-- The job's fields that a notice tells; `started` comes from its run.
local SHOWN = { 'model', 'status', 'created', 'ended', 'cache', 'metadata', 'error', 'paths', 'retry_of', 'run' }

local function answer_told(record)
  return record.run and fields_at(P .. record.run, RUN_TOLD) or {}
end

-- A job as it stands now, and its answer: either record may be gone when the notice is sent.
local function seen(record, answer)
  local facts = { started = answer.started }
  for _, name in ipairs(SHOWN) do
    facts[name] = record[name]
  end
  local fields = { 'facts', cjson.encode(facts) }
  add(fields, 'request_id', record.request_id)
  add(fields, 'trace', record.trace)
  add(fields, 'life_s', life_told(record.retain_s))
  add(fields, 'result', record.status == 'succeeded' and (answer.bare or answer.result))
  return fields
end

local function hook_of(job)
  return fields_at(P .. job .. ':hook', { 'host', 'events', 'disabled' })
end

-- Tells what happened to a job to all who want to know; `answer` is what is told of its run, if read already.
local function announce(job, kind, status, record, hook, answer)
  local type = 'job.' .. status
  local targets = record.quiet and {} or targets_of(record.caller, type)
  if hook.host and not hook.disabled and names(hook.events, type) then
    targets.own = hook.host
  end
  local logged = kind == 'ended' and not record.quiet
  if logged or next(targets) then
    local fields = seen(record, answer or answer_told(record))
    give_notice(job .. ':' .. kind, record.caller, type, fields, targets, logged, life_told(record.retain_s))
  end
end

-- A run may know of a job whose record is gone.
local function announce_beginning(job)
  local record = fields_at(P .. job, JOB_TOLD)
  if record.caller then
    announce(job, 'began', 'running', record, hook_of(job))
  end
end

local function drop_notices(job)
  drop_notice(job .. ':began')
  drop_notice(job .. ':ended')
end
