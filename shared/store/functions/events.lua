-- A run's events are numbered; `seq` is the last number given, `server` the process of the record store that gave it. Where a
-- reader gets them from: what the run's record tells (queued, the first running, its end), <run>:events, a stream (text,
-- requeued, further running, each a field of its kind under an id of its number and time), and the run's text `rest`, a JSON
-- list of the data of its last text events, from `rest_id` on.

-- More events of one run than a server can forget; LEAP of shared/job.py.
Events.LEAP = 10000

-- What the server takes for an event beside its text.
local EVENT_BYTES = 40

-- A text event of so many bytes at most goes with its wake-up.
local WOKEN_TEXT_BYTES = 4096

-- So many texts show how an answer began: they come ten to forty a second.
local FIRST_TEXTS = 12

local server

-- The id of the server process that answers, its beginning; '' where it does not say. The library is loaded anew in each process.
function Events.this_server()
  if not server then
    local info = redis.pcall('INFO', 'server')
    server = type(info) == 'string' and string.sub(string.match(info, 'run_id:(%w+)') or '', 1, 12) or ''
  end
  return server
end

-- A server process that did not give the last id may have forgotten events that were read: it lost its last moments, or
-- is a replica or a back-up. Their ids are skipped, so that none is given twice.
function Events.leap(run)
  local before = run.t.server
  run.t.server = Events.this_server()
  if before and before ~= run.t.server then
    run.t.seq = (run.t.seq or 0) + Events.LEAP
  end
end

local function next_number(run)
  Events.leap(run)
  run.t.seq = (run.t.seq or 0) + 1
  return run.t.seq
end

-- Gives the next id, and wakes the run's readers; with `state` also who waits for its end.
function Events.number(run, news)
  wake(run.id, news)
  return next_number(run)
end

-- Writes an event into a run's stream, under its number and the time: {kind, data}. Returns the entry's id.
local function write_event(run_id, number, kind, data)
  local entry = string.format('%d-%d', number, now)
  call('XADD', P .. run_id .. ':events', entry, kind, data)
  return entry
end

function Events.emit(run, kind, data)
  write_event(run.id, Events.number(run, 'event'), kind, data)
  run.t.wrote = (run.t.wrote or 0) + #data + EVENT_BYTES
end

-- Writes a text event. Who listens gets it with the wake-up, and need not read the store.
local function write_text(run_id, number)
  local entry = write_event(run_id, number, 'text', text)
  wake(run_id, #text <= WOKEN_TEXT_BYTES and entry .. ' ' .. text or 'event')
  return #text + EVENT_BYTES
end

-- Whether a piece {start, size, choice (of several answers)} follows on what a run has published: `new`, `known` (it is
-- there), or nil: the store forgot text in a crash, and the piece would splice the stream. A new one is counted.
-- `chars` counts the code points of all answers, `choices` those of each of several; `first` is the moment of the first
-- text, and `unread` stands until a reader is given some.
function Events.follows(run, piece)
  local t, own = run.t, piece.choice and tostring(piece.choice)
  local chars = own and (t.choices or {})[own] or not own and t.chars or 0
  if piece.start + piece.size <= chars then
    return 'known'
  elseif piece.start ~= chars then
    return nil
  end
  if (t.chars or 0) == 0 and not t.first then
    t.first, t.unread = now, true
  end
  t.chars = (t.chars or 0) + piece.size
  if own then
    t.choices = t.choices or {}
    t.choices[own] = chars + piece.size
  end
  return 'new'
end

-- Keeps the last texts of a run, {data, …}, with its record instead of its stream.
function Events.rest(run, datas)
  Events.leap(run)
  run.rest_id = (run.t.seq or 0) + 1
  run.t.seq = run.t.seq + #datas
  return '[' .. table.concat(datas, ',') .. ']'
end

-- Events before the first text that outlive it.
local BEGINNINGS = 100

-- Takes back a run's text that nobody has read; false where somebody may have. The events' ids are not given again. Who has read
-- an event behind some text has read that: what stays is the events before, and the last.
function Events.take_back(run)
  local events, remaining = P .. run.id .. ':events', {}
  if not run.t.unread then
    return false
  end
  local entries = call('XRANGE', events, '-', '+', 'COUNT', BEGINNINGS)
  while entries[#remaining + 1] and entries[#remaining + 1][2][1] ~= 'text' do
    table.insert(remaining, entries[#remaining + 1])
  end
  if #remaining == #entries then
    -- Its text is not among them.
    return false
  end
  local last = call('XREVRANGE', events, '+', '-', 'COUNT', 1)[1]
  table.insert(remaining, last[2][1] ~= 'text' and last or nil)
  call('DEL', events)
  run.t.first, run.t.unread, run.t.choices, run.t.chars, run.t.wrote = nil, nil, nil, nil, 0
  for _, entry in ipairs(remaining) do
    call('XADD', events, entry[1], unpack(entry[2]))
    run.t.wrote = run.t.wrote + #entry[2][2] + EVENT_BYTES
  end
  return true
end

-- The data of the first texts of a run that ended without an answer, as a JSON list; up to the event `last`, where it is given.
function Events.first_texts(id, last)
  local datas = {}
  for _, entry in ipairs(call('XRANGE', P .. id .. ':events', '-', last or '+', 'COUNT', FIRST_TEXTS)) do
    if entry[2][1] == 'text' then
      table.insert(datas, entry[2][2])
    end
  end
  return '[' .. table.concat(datas, ',') .. ']'
end

-- The data of all text of a run's answer: the last may be several, with commas.
function Events.texts_of(id)
  local datas, rest = {}, call('HGET', P .. id, 'rest')
  for _, entry in ipairs(call('XRANGE', P .. id .. ':events', '-', '+')) do
    if entry[2][1] == 'text' then
      table.insert(datas, entry[2][2])
    end
  end
  if rest then
    -- As it was written: cjson would round likelihoods.
    table.insert(datas, string.sub(rest, 2, -2))
  end
  return datas
end

-- The most frequent call: a piece of the only text, after others. Nothing but counts changes, so nothing is decoded. Returns
-- whether it was published.
local function append_next(json)
  local _, stop, seq, chars, wrote = string.find(json, '^{"seq":(%d+),"chars":(%d+),"wrote":(%d+)')
  if not stop or a.choice or a.start == 0 or tonumber(chars) ~= a.start or not string.find(json, a.token, stop, true)
    or not string.find(json, Events.this_server(), stop, true) then
    return false
  end
  wrote = wrote + write_text(a.id, seq + 1)
  call('HSET', P .. a.id, 't', string.format(PROGRESS, seq + 1, chars + a.size, wrote) .. string.sub(json, stop + 1))
  return true
end

-- Publishes the next piece of a running run's text. Text: the event's data. Returns ok | lost (the claim is another's, the run
-- has ended, or the store forgot text in a crash). A repeat of what is published answers ok and changes nothing.
hot('append', 'id token start# size# choice', { 'allow-oom' }, function()
  local json = redis.pcall('HGET', P .. a.id, 't')
  if type(json) == 'string' and append_next(json) then
    return 'ok'
  end
  local t = decoded(json)
  if not t or t.token ~= a.token then
    return 'lost'
  end
  local run = { id = a.id, t = t }
  local word = Events.follows(run, a)
  if word == 'new' then
    t.wrote = (t.wrote or 0) + write_text(a.id, next_number(run))
    call('HSET', P .. a.id, 't', encode_progress(t))
  end
  return word and 'ok' or 'lost'
end)

-- Events read at once: with likelihoods these have hundreds of thousands of bytes.
local STEP = 32

-- A stretch of a run's stream after one id, and whether that is all of it.
local function stretch(run, after)
  local found, bytes = {}, 0
  repeat
    local step = call('XRANGE', P .. run.id .. ':events', after + 1, '+', 'COUNT', STEP)
    for _, entry in ipairs(step) do
      table.insert(found, entry)
      after, bytes = tonumber(string.match(entry[1], '%d+')), bytes + #entry[2][2]
      if #found >= a.limit or bytes >= a.bytes then
        return found, 0
      end
    end
  until #step < STEP
  return found, 1
end

-- Reads a job's events after one id: {job's r and s, run's r, s and t, rest or '', entries of the stream, 1
-- where that is all of it, the stream's entry `after`}; nil where the caller has no such job.
local function follow()
  local job = owned(a.job, a.caller)
  if not job then
    return nil
  end
  local run, rest
  if job.run then
    run, rest = read(job.run, 'rest')
  end
  local entries, whole, before = {}, 1, {}
  if run and run.t.wrote then
    entries, whole = stretch(run, a.after)
    before = a.after > 0 and call('XRANGE', P .. run.id .. ':events', a.after, a.after) or {}
  end
  local json, run_json = memo.json[job.id], run and memo.json[run.id] or { '', '', '' }
  return { json[1], json[2], run_json[1], run_json[2], run_json[3], rest or '', entries, whole, before }
end

-- As above.
hot('follow', 'job caller after# limit# bytes#', { 'no-writes' }, follow)

-- The same for the first reader who is given text of a run in flight: the run is marked as read.
hot('follow_first', 'job caller after# limit# bytes#', { 'allow-oom' }, function()
  local found, job = follow(), read(a.job)
  local run = found and job.run and read(job.run)
  if run and run.t.unread then
    run.t.unread = nil
    write(run)
  end
  return found
end)
