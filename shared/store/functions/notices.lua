-- Notices: each is one thing that a caller is told, at all targets and however often.
--   <subject>:<kind>  hash  <notice>: type (job.succeeded, batch.completed, …), caller, at (Unix ms), to (the targets
--                           of its calls, words: webhooks.lua), life_s where the log keeps it for less than event_s; and
--                           either data (JSON text of what is told), or facts (JSON object of a job's fields) and
--                           result; once a courier has rendered it, body in their place; request_id and trace of
--                           the call that asked for the job
--   notices:<caller>  zset  the caller's log: its notices of ends, by a time that rises with each
-- A notice lives while a call of it is still to be made. One in the log lives for event_s at least, unless the log has
-- more than max_events.

-- All calls of a notice, those that were made included.
local function calls_of(notice)
  local found = {}
  for target in string.gmatch(call('HGET', P .. notice, 'to') or '', '%S+') do
    table.insert(found, notice .. ':' .. target)
  end
  return found
end

-- Puts a call of a notice in line.
function Notices.tell_to(notice, target, caller, host, asked)
  local to = call('HGET', P .. notice, 'to') or ''
  if not string.find(' ' .. to .. ' ', ' ' .. target .. ' ', 1, true) then
    call('HSET', P .. notice, 'to', to == '' and target or to .. ' ' .. target)
  end
  Webhooks.call_out(notice .. ':' .. target, caller, host, asked)
end

-- Whether some call of a notice is still to be made.
function Notices.has_calls(notice)
  for _, delivery in ipairs(calls_of(notice)) do
    if call('EXISTS', P .. delivery) == 1 then
      return true
    end
  end
  return false
end

-- Lets a notice live for as long as it has to.
function Notices.keep_notice(notice)
  local caller, at, life_s = unpack(call('HMGET', P .. notice, 'caller', 'at', 'life_s'))
  if not caller then
    return
  end
  if Notices.has_calls(notice) then
    call('PERSIST', P .. notice)
    return
  end
  local left = at + (life_s or a.event_s) * 1000 - now
  if left > 0 and call('ZSCORE', P .. 'notices:' .. caller, notice) then
    call('PEXPIRE', P .. notice, string.format('%.0f', left))
  else
    call('DEL', P .. notice)
  end
end

-- Puts a notice into its caller's log. Takes out notices that are too old, once in each second of the log's own time,
-- and, where there are too many, two for each that comes.
local function log_notice(notice, caller)
  local log = P .. 'notices:' .. caller
  local newest = tonumber(call('ZREVRANGE', log, 0, 0, 'WITHSCORES')[2] or 0)
  local place = math.max(now, newest + 1)
  call('ZADD', log, 'NX', string.format('%.0f', place), notice)
  if math.floor(newest / 1000) < math.floor(place / 1000) then
    call('ZREMRANGEBYSCORE', log, '-inf', string.format('%.0f', now - a.event_s * 1000))
    -- Long enough for the last notice that may come before this is done again.
    local second_ends = (math.floor(place / 1000) + 1) * 1000
    call('PEXPIRE', log, string.format('%.0f', second_ends - now + a.event_s * 1000))
  end
  local over = math.min(call('ZCARD', log) - a.max_events, 2)
  for _, oldest in ipairs(over > 0 and call('ZRANGE', log, 0, over - 1) or {}) do
    call('ZREM', log, oldest)
    Notices.keep_notice(oldest)
  end
end

-- Which of a caller's endpoints want events of this type: hosts by target.
function Notices.targets_of(caller, type)
  local found = {}
  for _, endpoint in ipairs(Endpoints.endpoints_of(caller)) do
    local host, events, disabled = unpack(call('HMGET', P .. endpoint, 'host', 'events', 'disabled'))
    if host and not disabled and Endpoints.names(events, type) then
      found[endpoint] = host
    end
  end
  return found
end

-- How long the log keeps a notice of something kept for retain_s, where that is less than event_s.
function Notices.life_told(retain_s)
  return retain_s and tonumber(retain_s) < a.event_s and retain_s
end

-- Writes a notice and puts its calls in line. `fields` are those that hold what is told, a flat list; `logged` = it is
-- an end, and goes into the log.
function Notices.give_notice(notice, caller, type, fields, targets, logged, life_s)
  if not logged and not next(targets) then
    return
  end
  call('HSET', P .. notice, 'type', type, 'caller', caller, 'at', now, unpack(fields))
  for target, host in pairs(targets) do
    Notices.tell_to(notice, target, caller, host)
  end
  if logged then
    log_notice(notice, caller)
  end
  if next(targets) then
    Notices.keep_notice(notice)
  else
    call('EXPIRE', P .. notice, life_s or a.event_s)
  end
end

-- Tells a caller that something other than a job has ended: logs a notice, and puts a call in line for each endpoint
-- that wants it. Call it once, in the step that ends the thing: what was told is not told anew.
--   subject   the id of what ended: small letters, `_` and hex digits (batch_0123…)
--   type      what happened to it (batch.completed, …)
--   data      JSON text: `data` of the event, as it is sent
--   retain_s  how long things made with the caller's API key are kept, where the key says so
-- The call's `a` needs what shared.store.lifetimes gives.
function Notices.tell_end(subject, caller, type, data, retain_s)
  local fields, life_s = { 'data', data }, Notices.life_told(retain_s)
  add(fields, 'life_s', life_s)
  Notices.give_notice(subject .. ':ended', caller, type, fields, Notices.targets_of(caller, type), true, life_s)
end

-- Forgets a notice and its calls that are still to be made.
function Notices.drop_notice(notice)
  for _, delivery in ipairs(calls_of(notice)) do
    Webhooks.drop_call(delivery)
  end
  call('DEL', P .. notice)
end

-- Notices looked at in one call.
local STEPS = 500

-- Reads a stretch of a caller's log, oldest first.
--   a       caller, after (notice; absent = from the oldest), types (words; <kind>.* is all of a kind; absent = all),
--           limit, bytes (of records that make a page full)
--   reads   notices:<caller> zset, <notice> hash
--   returns {{{notice, fields}, …}, the notice to go on behind or '' at the end, bytes}, or nil where the log does not
--           hold `after`
transition('notices', { 'no-writes' }, function()
  local log, from = P .. 'notices:' .. a.caller, '-inf'
  if a.after then
    local place = call('ZSCORE', log, a.after)
    if not place then
      return nil
    end
    from = '(' .. place
  end
  local found, last, bytes = {}, '', 0
  local members = call('ZRANGEBYSCORE', log, from, '+inf', 'LIMIT', 0, STEPS)
  for at, notice in ipairs(members) do
    local type = call('HGET', P .. notice, 'type')
    if type and (not a.types or Endpoints.names(a.types, type)) then
      local fields = call('HGETALL', P .. notice)
      table.insert(found, { notice, fields })
      for _, word in ipairs(fields) do
        bytes = bytes + #word
      end
    end
    if #found == a.limit or bytes >= a.bytes or at == STEPS then
      last = (at < #members or at == STEPS) and notice or ''
      break
    end
  end
  return { found, last, bytes }
end)
