-- A run's events are numbered; `seq` is the last number given, `server` the process of the record store that gave it. Three
-- kinds are read from the run's record: queued, the first running, and its end. The others are in a stream, <run>:events.

-- More events of one run than a server can forget; LEAP of shared/job.py.
Events.LEAP = 10000

local server

-- The id of the server process that answers; '' where it does not say. The library is loaded anew in each process.
function Events.this_server()
  if not server then
    local told = redis.pcall('INFO', 'server')
    server = type(told) == 'string' and string.match(told, 'run_id:(%w+)') or ''
  end
  return server
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
    put(run, 'seq', get(run, 'seq') + Events.LEAP, 'server', Events.this_server())
  end
end

-- Gives the next id, and wakes the run's readers.
function Events.number(run, kind)
  Events.leap(run)
  wake(run, kind == 'text' and 'text' or 'state')
  return increase(run, 'seq', 1)
end

-- What the server takes for an event beside its text.
local EVENT_BYTES = 40

-- Appends an event to a run's stream.
function Events.emit(run, kind, data)
  local id = Events.number(run, kind)
  call('XADD', P .. run .. ':events', id .. '-0', 'type', kind, 'data', data, 'at', now)
  put(run, 'streamed', 1, 'wrote', (get(run, 'wrote') or 0) + #data + EVENT_BYTES)
end

local function add_event(found, id, kind, data, at, after, till)
  if id and id > after and id <= till then
    table.insert(found, { id .. '-0', { 'type', kind, 'data', data, 'at', string.format('%.0f', at) } })
  end
end

-- The events that a run's record tells, behind one id and up to another: those before its stream, and its end.
local function recorded(run, after, till)
  local first, last, own = {}, {}, record(run)
  add_event(first, own.queued_id, 'queued', '{}', own.created, after, till)
  add_event(first, own.running_id, 'running', '{"attempt":1}', own.started or 0, after, till)
  add_event(last, own.end_id, own.state, own.error or '{}', own.ended or 0, after, till)
  return first, last
end

-- A run's published text: `chars` of its record counts the code points of all its answers, and `choices` those of each of
-- several; `first` is the moment of the first, and `unread` stands until a reader is given some of it.

-- Publishes a piece {start, size, choice (of several answers)}; false where it does not follow on what is there: the
-- store forgot text in a crash, and the piece would splice the stream. One that is published already changes nothing.
function Events.publish(run, piece, data)
  local choices, own = get(run, 'choices') or {}, piece.choice and tostring(piece.choice)
  local chars = own and (choices[own] or 0) or get(run, 'chars')
  if piece.start + piece.size <= chars then
    return true
  end
  if piece.start ~= chars then
    return false
  end
  -- A reader of one answer has read of the run, even before the other answers begin.
  if chars == 0 and not get(run, 'first') then
    put(run, 'first', now, 'unread', 1)
  end
  increase(run, 'chars', piece.size)
  if own then
    choices[own] = chars + piece.size
    put(run, 'choices', choices)
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
  remove(run, 'first', 'unread', 'choices')
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

-- Adds what a run's stream holds behind one id; whether that is all of it.
local function read_stream(run, found, after, till)
  local stream, bytes = P .. run .. ':events', 0
  till = till == math.huge and '+' or string.format('%.0f-0', till)
  repeat
    local step = call('XRANGE', stream, string.format('(%.0f-0', after), till, 'COUNT', STEP)
    for _, entry in ipairs(step) do
      table.insert(found, entry)
      after, bytes = tonumber(string.match(entry[1], '%d+')), bytes + #entry[2][4]
      if #found >= a.limit or bytes >= a.bytes then
        return false
      end
    end
  until #step < STEP
  return true
end

-- A run's events behind one id and up to another, and whether that is all of them.
local function chapter(run, after, till)
  local found, last = recorded(run, after, till)
  if get(run, 'streamed') and not read_stream(run, found, after, till) then
    return found, false
  end
  table.insert(found, last[1])
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
  local told = Jobs.as_told(a.job)
  local status, own, last, failure, run, ended = told.status, told.own, told.last, told.error, told.run, told.ended
  if not status then
    last = run and get(run, 'seq')
  end
  last = last or 0
  local entries, whole, seen, lacks, unread = {}, true, {}, false, false
  if run and record(run) then
    entries, whole = chapter(run, a.after, status and last or math.huge)
    seen = a.after > 0 and (chapter(run, a.after - 1, a.after)) or {}
    -- An event that was read is there for as long as its run's record.
    lacks = a.after > 0 and a.after <= last and #seen == 0
    unread = has_text(entries) and get(run, 'unread')
  end
  local newest = own == 1 and last + 1 or last
  -- A job outlives its run's events: its end is then told from its own record.
  local untold = own == 1 or status and #entries == 0
  local closing = untold and whole and a.after < newest
  local forgot = lacks or a.after > newest
  return { status or '', closing and 1 or 0, newest, failure or '', run or '', ended or 0, seen, entries, forgot and 1 or 0,
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
