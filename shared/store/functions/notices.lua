-- What callers are told: notices, each of one thing that happened, for webhooks; and a log of all that ended.
--   <subject>:<kind>  hash  <notice> (kind: began, ended or sent): type (job.succeeded, batch.completed, …), caller, at
--                           (Unix ms), request_id and trace of the call that asked for the job; data (JSON), or facts
--                           (JSON object of a job's fields) and result, or once a courier has rendered them, body;
--                           till where the log needs it that long; to:<target>: a call that is to be made (webhooks.lua)
--   notices:<caller>  zset  the log: notices of ends, by a time that rises with each
-- A notice lives while a call of it is to be made. The log reads ends of jobs from the records of job and run.

-- The job's fields that a notice tells; `started` comes from its run.
local SHOWN = { 'model', 'status', 'created', 'ended', 'cache', 'metadata', 'error', 'paths', 'retry_of' }

-- An ended job, its run and its answer without logprobs; nil where one of them is gone.
local function source_of(subject)
  local job = stored(subject)
  local run = job and job.run and stored(job.run)
  local answer = job and job.status == 'succeeded' and Runs.answer(run, true) or nil
  if not job or not job.status or job.status == 'succeeded' and not answer then
    return nil
  end
  return job, run, answer
end

-- The fields of a job's notice, a flat list.
local function fields_of(kind, job, run, answer)
  local began, facts = kind == 'began', { started = run and run.started }
  for _, name in ipairs(SHOWN) do
    facts[name] = job[name]
  end
  local fields = { 'type', 'job.' .. (began and 'running' or job.status), 'caller', job.caller,
    'at', string.format('%.0f', began and now or job.ended), 'facts', cjson.encode(facts) }
  add(fields, 'request_id', job.request_id)
  add(fields, 'trace', job.trace)
  add(fields, 'result', answer)
  return fields
end

-- The fields of a notice, a flat list: as it is kept, or as the records tell it; nil where they are gone.
local function fields_of_notice(notice)
  local kept, subject = call('HGETALL', P .. notice), string.match(notice, '^(job_%x+):ended$')
  if kept[1] or not subject then
    return kept[1] and kept
  end
  local job, run, answer = source_of(subject)
  return job and fields_of('ended', job, run, answer)
end

local function value(fields, name)
  for i = 1, #fields, 2 do
    if fields[i] == name then
      return fields[i + 1]
    end
  end
end

-- Whether a caller has endpoints.
function Webhooks.listens(caller)
  return call('EXISTS', P .. 'endpoints:' .. caller) == 1
end

-- Which of a caller's endpoints want events of this type: hosts by target.
local function targets_of(caller, type)
  local targets = {}
  for _, id in ipairs(Endpoints.endpoints_of(caller)) do
    local endpoint = fields_at(P .. id, { 'host', 'events', 'disabled' })
    if endpoint.host and not endpoint.disabled and Endpoints.names(endpoint.events, type) then
      targets[id] = endpoint.host
    end
  end
  return targets
end

-- Writes a notice with its calls; returns how many they are.
local function give(notice, caller, fields, targets)
  local count = 0
  for target, host in pairs(targets) do
    count = count + 1
    add(fields, 'to:' .. target, cjson.encode({ host = host, tries = 0 }))
  end
  call('HSET', P .. notice, unpack(fields))
  for target, host in pairs(targets) do
    Webhooks.line_up(notice .. ':' .. target, caller, host)
  end
  return count
end

-- Puts a notice into its caller's log, which is trimmed once in each second of its own time.
local function write_log(notice, caller)
  local log = P .. 'notices:' .. caller
  local newest = tonumber(call('ZREVRANGE', log, 0, 0, 'WITHSCORES')[2] or 0)
  local place = math.max(now, newest + 1)
  call('ZADD', log, 'NX', string.format('%.0f', place), notice)
  if math.floor(newest / 1000) < math.floor(place / 1000) then
    call('ZREMRANGEBYSCORE', log, '-inf', string.format('%.0f', now - S.event_s * 1000))
    call('ZREMRANGEBYRANK', log, 0, -S.max_events - 1)
    -- Long enough for the last notice that may come before this is done again.
    call('PEXPIRE', log, string.format('%.0f', place + 1000 - now + S.event_s * 1000))
  end
end

-- Reports what happened to a job: to its own webhook, <job>:hook hash (url, host, events, secret; delivered, disabled), and
-- unless the job is `quiet` to its caller's endpoints and log.
--   kind    began | ended
--   job     its fields, status and ended included; `run` its run's, or nil; `answer` JSON text without logprobs, or nil
--   returns how many calls are to be made. `a` needs event_s and max_events.
function Webhooks.announce(id, kind, job, run, answer)
  local type = 'job.' .. (kind == 'began' and 'running' or job.status)
  local targets = job.quiet and {} or targets_of(job.caller, type)
  local hook = job.hook and fields_at(P .. id .. ':hook', { 'host', 'events', 'disabled' }) or {}
  if hook.host and not hook.disabled and Endpoints.names(hook.events, type) then
    targets.own = hook.host
  end
  local notice = id .. ':' .. kind
  if kind == 'ended' and not job.quiet then
    write_log(notice, job.caller)
  end
  return next(targets) and give(notice, job.caller, fields_of(kind, job, run, answer), targets) or 0
end

-- Reports to a caller that something other than a job has ended. Call it once, in the step that ends the thing.
--   subject   the id of what ended: small letters, `_` and hex digits (batch_0123…)
--   type      what happened to it (batch.completed, …)
--   data      JSON text: `data` of the event, as it is sent
--   retain_s  how long things made with the caller's API key are kept, where the key says so
-- `a` needs event_s and max_events.
function Notices.tell_end(subject, caller, type, data, retain_s)
  local notice, life_ms = subject .. ':ended', math.min(tonumber(retain_s or S.event_s), S.event_s) * 1000
  local fields = { 'type', type, 'caller', caller, 'at', now, 'data', data, 'till', string.format('%.0f', now + life_ms) }
  write_log(notice, caller)
  if give(notice, caller, fields, targets_of(caller, type)) == 0 then
    call('PEXPIRE', P .. notice, life_ms)
  end
end

-- Puts a call of a notice in line, from its first try, whatever became of it before; one that a courier makes now is left
-- alone. `asked` = the caller asked for it: it is made even where the endpoint is disabled.
-- Returns the notice's fields, a flat list; nil where the caller has no such notice, or it is no longer kept.
function Notices.tell_to(notice, target, caller, host, asked)
  local fields = fields_of_notice(notice)
  if not fields or value(fields, 'caller') ~= caller then
    return nil
  end
  local id, name, subject = notice .. ':' .. target, 'to:' .. target, string.match(notice, '^job_%x+')
  local before = cjson.decode(value(fields, name) or '{}')
  if before.host and Webhooks.is_under_way(id, caller, before.host) then
    return fields
  end
  Webhooks.withdraw(id, caller, before.host or host)
  call('HSET', P .. notice, unpack(fields))
  call('HSET', P .. notice, name, cjson.encode({ host = host, tries = 0, asked = asked or before.asked }))
  local job = subject and read(subject)
  if job and job.unstored then
    call('PEXPIRE', P .. notice, math.max(call('PTTL', P .. subject), 1))
  else
    call('PERSIST', P .. notice)
  end
  Webhooks.line_up(id, caller, host)
  return fields
end

-- A call of a notice is over, or will not be made; with the last one the notice goes, unless the log needs it.
function Notices.close(notice, target)
  call('HDEL', P .. notice, 'to:' .. target)
  for _, name in ipairs(call('HKEYS', P .. notice)) do
    if string.find(name, '^to:') then
      return
    end
  end
  local left = tonumber(call('HGET', P .. notice, 'till') or now) - now
  if left > 0 then
    call('PEXPIRE', P .. notice, string.format('%.0f', left))
  else
    call('DEL', P .. notice)
  end
end

-- Notices looked at in one call.
local STEPS = 500

-- Reads a stretch of a caller's log, oldest first; notices whose records are gone are passed over.
--   a       caller, after (notice; absent = from the oldest), types (words; <kind>.* is all of a kind; absent = all),
--           limit, bytes (of records that make a page full)
--   returns {{{notice, fields}, …}, the notice to go on behind or '' at the end, bytes}, nil where the log lacks `after`
transition('notices', { 'no-writes' }, function()
  local log, from = P .. 'notices:' .. a.caller, '-inf'
  if a.after then
    local place = call('ZSCORE', log, a.after)
    if not place then
      return nil
    end
    from = '(' .. place
  end
  local page, bytes = {}, 0
  local members = call('ZRANGEBYSCORE', log, from, '+inf', 'LIMIT', 0, STEPS)
  for at, notice in ipairs(members) do
    local fields = fields_of_notice(notice)
    if fields and (not a.types or Endpoints.names(a.types, value(fields, 'type'))) then
      table.insert(page, { notice, fields })
      bytes = bytes + #table.concat(fields)
    end
    if #page == a.limit or bytes >= a.bytes or at == STEPS then
      return { page, (at < #members or at == STEPS) and notice or '', bytes }
    end
  end
  return { page, '', bytes }
end)
