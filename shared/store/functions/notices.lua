-- Notices of what happened, each of one thing, for webhooks; and a log of all that ended.
--   <subject>:<kind>  hash  <notice> (kind: began, ended or sent): type (job.succeeded, batch.completed, …), caller, at
--                           (Unix ms), request_id and trace of the call that asked for the job; data (JSON), or a job's
--                           fields but for the answer, which its run has; till where the log needs it that long;
--                           targets of calls that are to be made (webhooks.lua), and m while there are any (memory.lua)
--   notices:<caller>  zset  the log: notices of ends, by a time that rises with each
--   <id> (wh_…)       hash  an endpoint, a plain record (records.lua) that hears of all that ends: what the class Endpoint has;
--                           caller, host, secret, formers; events in words, <kind>.* is all of a kind; disabled (caller |
--                           gone) and disabled_ms where it is
--   <id>:deliveries   list  how its calls went, the newest last
-- A notice lives while a call of it is to be made.

-- What a notice of a job says of it; `started` and `result` come from its run.
local OF_JOB = { 'leader', 'caller', 'model', 'created', 'cache', 'metadata', 'error', 'paths', 'retry_of', 'request_id', 'trace' }

-- Notices looked at in one call.
local STEPS = 500

-- The fields of a job's notice, but for the answer.
local function fields_of(job)
  local run = Runs.of(job)
  local fields = { type = 'job.' .. (job.status or 'running'), at = string.format('%.0f', job.ended or now) }
  fields.started = run and run.started
  for _, name in ipairs(OF_JOB) do
    fields[name] = job[name]
  end
  return fields
end

-- What a notice says, and whether that is all: the answer, which its run has, may be gone before the rest. nil where its
-- records are gone, or its type is none of `types` (words; absent = all).
function Notices.content(notice, types)
  local record, subject = by_name(call('HGETALL', P .. notice)), string.match(notice, '^(job_%x+):ended$')
  local job = not record.type and subject and stored(subject)
  local type = record.type or job and job.status and not job.gone and 'job.' .. job.status
  if not type or types and not Notices.names(types, type) then
    return nil
  end
  local fields = record.type and record or fields_of(job)
  if type == 'job.succeeded' then
    -- A job of pages has no answer of its own.
    local answered = fields.leader or subject
    fields.result = answered and Runs.answer(stored(answered), true) or nil
  end
  return fields, type ~= 'job.succeeded' or fields.result
end

-- Whether a list of words names this type of event, or all of its kind.
function Notices.names(events, type)
  local words, kind = ' ' .. events .. ' ', string.match(type, '^%l+') .. '.*'
  return string.find(words, ' ' .. type .. ' ', 1, true) or string.find(words, ' ' .. kind .. ' ', 1, true)
end

-- The fields of a webhook, an endpoint's or a job's own; none where it is gone or cannot be read.
function Webhooks.fields(id)
  if not memo[id] then
    local ok, found = pcall(fields_at, P .. id, { 'url', 'host', 'events', 'secret', 'formers', 'disabled' })
    local readable = ok and (not found.host or found.url and found.events)
    if not readable then
      note_bad(id, not ok and found or 'it lacks url or events')
      call('DEL', P .. id)
    end
    memo[id] = readable and found or {}
  end
  return memo[id]
end

-- Gives a job its own webhook: fields by name, if there is one.
function Webhooks.attach(job, hook)
  if not hook or not hook.url then
    return
  end
  call('HSET', P .. job.id .. ':hook', unpack(flat(hook)))
  job.hook = Memory.HOOK_BYTES + #hook.url + #(hook.secret or '')
  job.beginnings = Notices.names(hook.events, 'job.running') and 1 or nil
end

-- The host of a webhook that wants events of this type; nil where it does not.
local function host_of(id, type)
  local webhook = Webhooks.fields(id)
  return webhook.host and not webhook.disabled and Notices.names(webhook.events, type) and webhook.host or nil
end

-- The hosts of those of a caller's endpoints that want events of this type, by target. Many ends of one call read them once.
local function hosts_of(caller, type)
  local key, hosts = 'endpoints:' .. caller, {}
  memo[key] = memo[key] or call('ZRANGE', P .. key, 0, -1)
  for _, id in ipairs(memo[key]) do
    hosts[id] = host_of(id, type)
  end
  return hosts
end

-- Puts a notice into its caller's log, which is trimmed once in each second of its own time.
local function write_log(notice, caller)
  local log = P .. 'notices:' .. caller
  local newest = tonumber(call('ZREVRANGE', log, 0, 0, 'WITHSCORES')[2] or 0)
  local place = math.max(now, newest + 1)
  call('ZADD', log, 'NX', place, notice)
  if math.floor(newest / 1000) < math.floor(place / 1000) then
    call('ZREMRANGEBYSCORE', log, '-inf', now - S.event_s * 1000)
    call('ZREMRANGEBYRANK', log, 0, -S.max_events - 1)
    -- Long enough for the last notice that may come before this is done again.
    call('PEXPIRE', log, place + 1000 - now + S.event_s * 1000)
  end
end

-- Reports what happened to a job: to its own webhook, <job>:hook hash (url, host, events, secret; delivered, disabled), and
-- unless the job is `quiet` to its caller's endpoints and log. kind: began | ended, which its status says. Returns how many
-- calls are to be made.
function Webhooks.announce(kind, job)
  local type, notice = 'job.' .. (job.status or 'running'), job.id .. ':' .. kind
  local hosts = job.quiet and {} or hosts_of(job.caller, type)
  hosts.own = job.hook and host_of(job.id .. ':hook', type)
  if kind == 'ended' and not job.quiet then
    write_log(notice, job.caller)
  end
  return next(hosts) and Webhooks.send(notice, job.caller, fields_of(job), hosts) or 0
end

-- Reports to a caller that something other than a job has ended. Call it once, in the step that ends the thing.
--   subject   the id of what ended: small letters, `_` and hex digits (batch_0123…)
--   type      what happened to it (batch.completed, …), told to its own webhook too where it has one
--   data      JSON text: `data` of the event, as it is sent
--   retain_s  how long things made with the caller's API key are kept, where the key says so
function Notices.announce_end(subject, caller, type, data, retain_s)
  local notice, life_ms = subject .. ':ended', math.min(tonumber(retain_s or S.event_s), S.event_s) * 1000
  local fields = { type = type, caller = caller, at = now, data = data, till = string.format('%.0f', now + life_ms) }
  write_log(notice, caller)
  local hosts = hosts_of(caller, type)
  hosts.own = host_of(subject .. ':hook', type)
  if Webhooks.send(notice, caller, fields, hosts) == 0 then
    call('PEXPIRE', P .. notice, life_ms)
  end
end

-- Sends a notice to a webhook, again or for the first time, whatever became of it before. `asked` = the caller asked for it:
-- it is sent even where the endpoint is disabled.
-- Returns the notice's fields, a flat list; nil where the caller has no such notice, or it is no longer kept.
function Notices.send_again(notice, target, caller, host, asked)
  local fields, whole = Notices.content(notice)
  if not whole or fields.caller ~= caller then
    return nil
  end
  local content = flat(fields)
  fields.result = nil
  Webhooks.send(notice, caller, fields, { [target] = host }, asked)
  local job = read(string.match(notice, '^[^:]+'))
  if job and job.unstored then
    local left = math.max(call('PTTL', P .. job.id), 1)
    call('PEXPIRE', P .. notice, left)
    Memory.prolong(notice, left / 1000)
  else
    call('PERSIST', P .. notice)
  end
  return content
end

-- Tells an endpoint a notice of its caller, again or for the first time, even where it is disabled; a test, which is in no log
-- but that of the endpoint's calls, brings its `data` (JSON text). A call that waits is due at once, one that a courier has
-- is left alone. Returns {unknown} (endpoint) | {expired} (the notice is no longer kept) | {queued, fields of the notice}.
transition('endpoint_send', {}, function()
  local host = Records.owned('endpoints', a.caller, a.id, 'host')
  if not host then
    return { 'unknown' }
  elseif a.data then
    call('HSET', P .. a.notice, 'type', 'webhook.test', 'caller', a.caller, 'at', now, 'data', a.data)
  end
  local fields = Notices.send_again(a.notice, a.id, a.caller, host, true)
  return fields and { 'queued', fields } or { 'expired' }
end)

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
    local fields, whole = Notices.content(notice, a.types)
    if whole then
      local content = flat(fields)
      table.insert(page, { notice, content })
      bytes = bytes + #table.concat(content)
    end
    if #page == a.limit or bytes >= a.bytes or at == STEPS then
      return { page, (at < #members or at == STEPS) and notice or '', bytes }
    end
  end
  return { page, '', bytes }
end)
