-- A run's events are numbered: `seq` is the last number, `server` the process of the record store that gave it. A
-- reader finds them in the run's record (queued, the first running, its end), in the run's text `rest`, a JSON list of
-- the data of its last text events, from `rest_id` on, and in
--   <run>:events  stream  text, requeued, further running: each a field of its kind under an id of its number and time

local LEAP = 10000 -- more events of one run than a server can forget; LEAP of shared/job.py
local EVENT_BYTES = 40 -- bytes of an event beside its text
local WOKEN_TEXT_BYTES = 4096 -- the longest text event that goes with its wake-up
local FIRST_TEXTS = 12 -- texts that show how an answer began; ten to forty come in a second

local server

-- The beginning of the id of this server process; '' if it is unknown. Each process loads the library anew.
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
    run.t.seq = (run.t.seq or 0) + LEAP
  end
end

-- Gives the next id.
function Events.number(run)
  Events.leap(run)
  run.t.seq = (run.t.seq or 0) + 1
  return run.t.seq
end

-- Writes an event into a run's stream, under its number and the time, and wakes readers. Returns the event's bytes.
local function publish(id, number, kind, data)
  local entry = string.format('%d-%d', number, now)
  call('XADD', P .. id .. ':events', entry, kind, data)
  wake(id, kind == 'text' and #data <= WOKEN_TEXT_BYTES and entry .. ' ' .. data or 'event')
  return #data + EVENT_BYTES
end

function Events.emit(run, kind, data)
  run.t.wrote = (run.t.wrote or 0) + publish(run.id, Events.number(run), kind, data)
end

-- Whether a piece {start, size, choice (of several answers)} follows on the published text: `new`, `known` (it is
-- there), or nil: the store forgot text in a crash. A new one is counted: `chars` counts the code points of all
-- answers, `choices` those of each of several; `first` is the moment of the first text, and `unread` is set until a
-- reader gets some.
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

local BEGINNINGS = 100 -- events before the first text that outlive it

-- Takes back a run's text that is unread; false if it may be read. The events' ids are not given again. A reader of an
-- event behind some text has read that: what stays is the events before, and the last.
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

-- The data of a job's text events, a JSON list: of all, with the texts at `key`, or of the first ones up to `last` ('+'
-- = any).
function Events.texts(id, last, key)
  local count, rest = last and FIRST_TEXTS or 1e9, not last and call('HGET', key, 'rest')
  local datas = {}
  for _, entry in ipairs(call('XRANGE', P .. id .. ':events', '-', last or '+', 'COUNT', count)) do
    table.insert(datas, entry[2][1] == 'text' and entry[2][2] or nil)
  end
  -- As it was written: cjson would round likelihoods.
  table.insert(datas, rest and string.sub(rest, 2, -2) or nil)
  return '[' .. table.concat(datas, ',') .. ']'
end

-- The most frequent call: a further piece of the only text. Only counts change, so nothing is decoded. True if
-- published.
local function append_next(json)
  local _, stop, seq, chars, wrote = string.find(json, '^{"seq":(%d+),"chars":(%d+),"wrote":(%d+)')
  if not stop or a.choice or a.start == 0 or tonumber(chars) ~= a.start or not string.find(json, a.token, stop, true)
    or not string.find(json, Events.this_server(), stop, true) then
    return false
  end
  wrote = wrote + publish(a.id, seq + 1, 'text', text)
  call('HSET', P .. a.id, 't', string.format(PROGRESS, seq + 1, chars + a.size, wrote) .. string.sub(json, stop + 1))
  return true
end

-- Publishes the next piece of a run's text. Text: the event's data. Returns ok | lost (the claim is another's, the run
-- has ended, or the store forgot text in a crash). A repeat of what is published answers ok and changes nothing.
transition('append', { 'allow-oom' }, function()
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
    Events.emit(run, 'text', text)
    call('HSET', P .. a.id, 't', encode_progress(t))
  end
  return word and 'ok' or 'lost'
end)

local STEP = 32 -- events read at once: with logprobs these have hundreds of thousands of bytes

-- A stretch of a job's stream after one id, and whether that is all of it.
local function stretch(work, after)
  local found, bytes = {}, 0
  repeat
    local step = call('XRANGE', P .. work.id .. ':events', after + 1, '+', 'COUNT', STEP)
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

-- Reads a job's events after one id: {r, s and t of the job, its leader or '', that one's r, s and t, rest or '',
-- entries of the stream, 1 if that is all, the stream's entry `after`, 1 if there is work}; nil if the caller has no
-- such job.
local function follow()
  local job = owned(a.job, a.caller)
  if not job then
    return nil
  end
  local work = Runs.of(job)
  if work and work.kept and now >= work.kept then
    work = nil
  end
  local rest = work and work.rest_id and call('HGET', Runs.texts_key(work), 'rest')
  local entries, whole, before = {}, 1, {}
  if work and work.t.wrote then
    entries, whole = stretch(work, a.after)
    before = a.after > 0 and call('XRANGE', P .. work.id .. ':events', a.after, a.after) or {}
  end
  local json, others = memo.json[job.id], job.leader and work and memo.json[work.id] or { '', '', '' }
  return { json[1], json[2], json[3], job.leader or '', others[1], others[2], others[3], rest or '', entries, whole,
    before, work and 1 or 0 }
end

-- As above.
transition('follow', { 'no-writes' }, follow)

-- The same for the first reader that gets text of a run in flight: the run is marked as read.
transition('follow_first', { 'allow-oom' }, function()
  local found, job = follow(), read(a.job)
  local work = found and Runs.of(job)
  if work and work.t.unread then
    work.t.unread = nil
    write(work)
  end
  return found
end)
