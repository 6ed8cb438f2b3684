-- A run's stream. `seq` of its hash is the last id given, `server` the process of the record store that gave it.

-- More events of one run than a server can forget; LEAP of shared/job.py.
Events.LEAP = 10000

-- The id of the server process that answers; '' where it does not say.
function Events.this_server()
  if not memo.server then
    local told = redis.pcall('INFO', 'server')
    memo.server = type(told) == 'string' and string.match(told, 'run_id:(%w+)') or ''
  end
  return memo.server
end

-- Whether a run's last id, or a job whose run is still to be opened, is of another server process.
function Events.server_changed(id)
  local before = get(id, 'server')
  return before and before ~= Events.this_server()
end

-- A server process that did not give the last id may have forgotten events that were read: it lost its last moments, or
-- is a replica or a back-up. Their ids are skipped, so that none is given twice.
function Events.leap(run)
  if Events.server_changed(run) then
    increase(run, 'seq', Events.LEAP)
    put(run, 'server', Events.this_server())
  end
end

-- Appends one event to a run's stream under the next id, and wakes its readers.
function Events.emit(run, kind, data)
  Events.leap(run)
  local id = increase(run, 'seq', 1)
  call('XADD', P .. run .. ':events', id .. '-0', 'type', kind, 'data', data, 'at', now)
  wake(run, kind == 'text' and 'text' or 'state')
  return id
end

-- A run's published text: `chars` of its hash counts the code points of all its answers, and chars:<choice> those of
-- one of several; `first` is the moment of the first, and `unread` stands until a reader is given some of it.

-- Publishes a piece {start, size, choice (of several answers)}; false where it does not follow on what is there: the
-- store forgot text in a crash, and the piece would splice the stream. One that is published already changes nothing.
function Events.publish(run, piece, data)
  local own = piece.choice and 'chars:' .. piece.choice
  local chars = get(run, own or 'chars') or 0
  if piece.start + piece.size <= chars then
    return true
  end
  if piece.start ~= chars then
    return false
  end
  if chars == 0 then
    -- A reader of one answer has read of the run, even before the other answers begin.
    if not get(run, 'first') then
      put(run, 'first', now, 'unread', 1)
    end
  end
  increase(run, 'chars', piece.size)
  if own then
    increase(run, own, piece.size)
  end
  Events.emit(run, 'text', data)
  return true
end

-- Takes back a run's text that nobody has read; false where somebody may have. The events' ids are not given again.
function Events.unsay(run)
  local events = P .. run .. ':events'
  if not get(run, 'unread') then
    return false
  end
  for _, entry in ipairs(call('XRANGE', events, '-', '+')) do
    if entry[2][2] == 'text' then
      call('XDEL', events, entry[1])
    end
  end
  for name in pairs(record(run)) do
    if string.sub(name, 1, 6) == 'chars:' then
      remove(run, name)
    end
  end
  remove(run, 'first', 'unread')
  put(run, 'chars', 0)
  return true
end

-- Publishes the next piece of a running run's text.
--   a      id, token, start (offset in code points), size (code points), choice (which of several answers it is of)
--   text   the event's data, as JSON
--   writes <run> hash (seq, chars, chars:<choice>), <run>:events stream
--   returns ok | lost (the claim is another's, the run has ended, or the store forgot text in a crash: a piece that
--           does not follow on the published text would splice the stream)
--   repeat a piece that is published already answers ok and changes nothing
--   events text {choice (of several answers), syntax (where calls may stand in it), prompt_tokens (in the first), start,
--           text, ids, logprobs (where they are asked for)}
transition('append', { 'allow-oom' }, function()
  if get(a.id, 'token') ~= a.token then
    return 'lost'
  end
  return Events.publish(a.id, a, text) and 'ok' or 'lost'
end)

-- Events read at once: with logprobs these have hundreds of thousands of bytes.
local STEP = 32

-- What the stream holds behind one id, and whether that is all of it.
local function chapter(stream, after, till)
  local found, bytes = {}, 0
  repeat
    local step = call('XRANGE', stream, '(' .. after, till, 'COUNT', STEP)
    for _, entry in ipairs(step) do
      table.insert(found, entry)
      after, bytes = entry[1], bytes + #entry[2][4]
      if #found == a.limit or bytes >= a.bytes then
        return found, false
      end
    end
  until #step < STEP
  return found, true
end

local function has_text(entries)
  for _, entry in ipairs(entries) do
    if entry[2][2] == 'text' then
      return true
    end
  end
  return false
end

local function follow()
  if not owned(a.job, a.caller) then
    return nil
  end
  local status, own, last, failure, run, ended =
    fields(a.job, 'status', 'own', 'last', 'error', 'run', 'ended')
  if not status then
    last = run and get(run, 'seq')
  end
  last = tonumber(last or 0)
  local entries, whole, seen, lacks, unread = {}, true, {}, false, false
  if run then
    local stream = P .. run .. ':events'
    local after = string.format('%.0f-0', a.after)
    entries, whole = chapter(stream, after, status and last .. '-0' or '+')
    seen = call('XRANGE', stream, after, after)
    -- An event that was read stays in its stream for as long as the stream exists.
    lacks = a.after > 0 and a.after <= last and #seen == 0 and call('EXISTS', stream) == 1
    unread = has_text(entries) and get(run, 'unread')
  end
  local newest = own == 1 and last + 1 or last
  -- A job outlives its run's events: its end is then told from its own record.
  local untold = own == 1 or status and #entries == 0
  local closing = untold and whole and a.after < newest
  local forgot = lacks or a.after > newest
  return { status or '', closing and 1 or 0, newest, failure or '', run or '', ended or '0', seen, entries, forgot and 1 or 0,
    unread and 1 or 0 }
end

-- Reads a job's events behind one id.
--   a       job, caller, after, limit and bytes (events, or bytes of them, that make a chapter full)
--   returns {status or '', closing (1 = the job's own last event comes behind these), newest id, error,
--           run or '', ended, seen, {event, …}, forgot (1 = this stream knows no event `after`: the store lost it),
--           unread (1 = there is text among them, and the run is not marked as read)}, nil where the caller has no such
--           job; an event is {id, {field, value, …}}, seen holds the run's event `after` where there is one
transition('follow', { 'no-writes' }, function()
  return follow()
end)

-- The same for the first reader who is given text of a run in flight; it marks the run as read.
--   a       as follow
--   writes  <run> hash (unread)
--   returns as follow
transition('follow_first', { 'allow-oom' }, function()
  local found = follow()
  if found and found[10] == 1 then
    remove(found[5], 'unread')
  end
  return found
end)
