-- What every function starts from. This file comes first in the library. Each other file is a block of its own, and
-- shares what others use in a table of its name (fair_queue.lua: FairQueue). Files hold only definitions: while a
-- library loads, Redis offers no function but `redis.register_function`.
--
-- Two releases may work on one store, each with its own library. A record is read, changed and written whole, so fields
-- that a release does not know survive. A new field needs nothing more if its absence means what held before; a field
-- with a new meaning needs a new name; other keys need another P, because start and doctor refuse a former store.
local P = 'sl9:' -- the prefix of every key: PREFIX of shared/store/keys.py

-- What one call is about: `a` its arguments, `S` the settings, `text` a large text that is stored as it is, `now` Unix
-- ms, `memo` what it looked up before; and functions that a page of jobs uses hundreds of times.
local call, a, S, text, now, writable, memo
local find, sub, byte

local function clock()
  local t = call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function decoded(json)
  local ok, value = pcall(cjson.decode, json)
  return ok and type(value) == 'table' and value or nil
end

-- Tells waiting API processes and workers that `id` changed. `news` is `state` if that may be its end, `event` if there
-- is an event to read, or a text event itself (events.lua).
local function wake(id, news)
  call('PUBLISH', P .. 'wake:' .. id, news)
end

-- Some fields of a hash by their names; absent ones are nil.
local function fields_at(key, names)
  local values, found = call('HMGET', key, unpack(names)), {}
  for i, name in ipairs(names) do
    found[name] = values[i] or nil
  end
  return found
end

-- Adds a field that has a value to a flat list of names and values.
local function add(fields, name, value)
  if value then
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
end

-- A flat list of names and values as a table, and how many names there are.
local function by_name(list)
  local found = {}
  for i = 1, #list, 2 do
    found[list[i]] = list[i + 1]
  end
  return found, #list / 2
end

local function flat(fields)
  local list = {}
  for name, value in pairs(fields) do
    add(list, name, value)
  end
  return list
end

-- Notes in a zset that something happened now, and forgets what is older than so many seconds.
local function note_time(key, member, seconds)
  call('ZREMRANGEBYSCORE', key, '-inf', now - seconds * 1000)
  call('ZADD', key, now, member)
  call('EXPIRE', key, seconds)
end

-- The words of a text, which may be absent.
local function words(list)
  return string.gmatch(list or '', '%S+')
end

local function count_words(list)
  return select(2, string.gsub(list or '', '%S+', ''))
end

-- A job (job_…) or a batch (batch_…) is a hash with three JSON objects, `r` what it was created with, `s` what changed
-- since, `t` what changes with each piece of text; and `m`, its charge (memory.lua), and texts. A call reads and writes
-- it once.
local NEEDED = { job = { 'caller', 'model_lane', 'created', 'metadata', 'priority' } }

-- An id may be anything a stranger typed: it must not reach our other keys.
local function is_job(id)
  return id and string.find(id, '^job_%x+$')
end

-- Whether work is a model's: not a batch's turn, and no look for inputs.
local function is_computed(work)
  return sub(work.lane, 1, 6) == 'model.'
end

local MOST_BAD = 1000

-- Names something that cannot be read, with the reason, in the hash `bad`, for operators.
local function note_bad(id, why)
  call('HSET', P .. 'bad', id, string.sub(tostring(type(why) == 'table' and why.err or why), 1, 200))
  if call('HLEN', P .. 'bad') > MOST_BAD then
    call('HDEL', P .. 'bad', call('HRANDFIELD', P .. 'bad'))
  end
end

-- Returns what `act` returns, or nil if it fails: then that is noted under `id`.
local function try(act, id, ...)
  local ok, first, second = pcall(act, ...)
  if ok then
    return first, second
  end
  note_bad(id, first)
end

-- Does something for each member of an index. One that fails is taken out, and the others follow.
local function each(index, ids, act)
  for _, id in ipairs(ids) do
    local ok, why = pcall(act, id)
    if not ok then
      note_bad(id, why)
      call('ZREM', index, id)
    end
  end
end

-- Why a record cannot be read; nil where it can.
local function fault(id, found, record)
  if found.err then
    return found.err
  elseif not record then
    return 'its fields are no JSON object'
  end
  for _, name in ipairs(NEEDED[sub(id, 1, 3)] or {}) do
    if record[name] == nil then
      return 'it lacks ' .. name
    end
  end
end

-- One table of what a record was created with and what has changed; only changes are in the table itself.
local function parsed(id, json)
  local created = decoded(json[1])
  local changes, progress = json[2] == '' and {} or decoded(json[2]), json[3] == '' and {} or decoded(json[3])
  if created and changes and progress then
    created.id, created.t, created.queued_at = id, progress, created.queued_at or created.created
    return setmetatable(changes, { __index = created })
  end
end

-- Reads a record's JSON texts, and further fields behind them. What the call already knows of the record stays.
local function fetch(id, ...)
  local found = redis.pcall('HMGET', P .. id, 'r', 's', 't', ...)
  if found[1] and not memo.json[id] then
    memo.json[id] = { found[1], found[2] or '', found[3] or '' }
  end
  return found
end

-- A record as it is stored: one table of its fields for the whole call, with its `id` and progress `t`; then further
-- texts. nil if there is none. An unreadable record fails in the first call that may write and has settings.
local function stored(id, ...)
  local record, found = memo.records[id], {}
  if ... or record == nil and not memo.json[id] then
    found = fetch(id, 'm', ...)
    memo.charges[id] = memo.charges[id] or found[4]
  end
  if record == nil then
    local json = memo.json[id]
    record = json and parsed(id, json)
    local why = (json or found.err or found[2]) and fault(id, found, record)
    record = why and writable and S.lost and Runs.fail_unreadable(id, why) or not why and record or false
    memo.records[id] = record
  end
  if record then
    return record, unpack(found, 5)
  end
  return nil
end

local function visible(record, ...)
  if record and (memo.whole or not (record.till and now >= record.till)) then
    return record, ...
  end
end

-- The same as its caller sees it. Batches, webhooks and followers read records for longer.
local function read(id, ...)
  return visible(stored(id, ...))
end

-- Finds a field by its name as JSON writes it (name":), without decoding the record: quotes within a value are escaped,
-- so only a name stands before a quote and a colon. Returns the text with the field, and where its value begins.
local function value_at(json, name)
  for part = 2, 1, -1 do
    local _, colon = find(json[part], name, 1, true)
    if colon then
      return json[part], colon + 1
    end
  end
end

-- The field's value, a word or number.
local function field_of(json, name)
  local text, from = value_at(json, name)
  if text and byte(text, from) == 34 then
    return sub(text, from + 1, find(text, '"', from + 1, true) - 1)
  end
  return text and string.match(text, '^[^,}]*', from)
end

-- The JSON texts {r, s, t} of a record, undecoded, and up to two further texts.
local function raw(id, ...)
  local found = memo.json[id] and not ... and {} or fetch(id, ...)
  return memo.records[id] ~= false and memo.json[id], found[4], found[5]
end

-- The same of a job as its caller sees it.
local function read_raw(id, ...)
  local json, first, second = raw(id, ...)
  local till = json and field_of(json, 'till":')
  if json and (memo.whole or not (till and now >= tonumber(till))) then
    return json, first, second
  end
end

-- Begins a record: a table of its fields.
local function create(id, record)
  record.id, record.t = id, {}
  memo.records[id], memo.json[id] = record, { '', '', '' }
  return record
end

local function delete(id)
  memo.records[id] = false
  call('DEL', P .. id)
end

-- The table with what a record was created with; the record itself where this call creates it.
local function created_of(record)
  local meta = getmetatable(record)
  return meta and meta.__index or record
end

-- Takes away a field, whenever it was written.
local function unset(record, name)
  local created = created_of(record)
  record[name] = nil
  if created[name] ~= nil then
    created[name], memo.json[record.id][1] = nil, ''
  end
end

-- Without `queued_at` work was queued when it was created: cjson takes long to write a number.
local function encode_created(record)
  local id, t, queued_at = record.id, record.t, record.queued_at
  record.id, record.t, record.queued_at = nil, nil, queued_at ~= record.created and queued_at or nil
  local json = cjson.encode(record)
  record.id, record.t, record.queued_at = id, t, queued_at
  return json
end

-- Progress once there is text: first what each piece changes.
local PROGRESS = '{"seq":%d,"chars":%d,"wrote":%d'

local function encode_progress(t)
  local seq, chars, wrote = t.seq, t.chars, t.wrote
  if not (seq and chars and wrote) then
    return next(t) and cjson.encode(t) or ''
  end
  t.seq, t.chars, t.wrote = nil, nil, nil
  local rest = cjson.encode(t)
  t.seq, t.chars, t.wrote = seq, chars, wrote
  return string.format(PROGRESS, seq, chars, wrote) .. (rest == '{}' and '' or ',') .. string.sub(rest, 2)
end

-- Writes a record, with texts as names and values in turn.
local function write(record, ...)
  local id, t, created = record.id, record.t, created_of(record)
  local json, fields = memo.json[id], { ... }
  if created == record or json[1] == '' then
    json[1] = encode_created(created)
    add(fields, 'r', json[1])
  end
  if created ~= record then
    json[2] = cjson.encode(record)
    add(fields, 's', json[2])
  end
  if next(t) or json[3] ~= '' then
    json[3] = encode_progress(t)
    add(fields, 't', json[3])
  end
  call('HSET', P .. id, unpack(fields))
end

-- A caller's job; nil for anybody else's.
local function owned(id, caller)
  local job = is_job(id) and read(id)
  return job and job.caller == caller and job or nil
end

-- Ends a call. Counts of lanes and charges of callers are written even if the call fails, because what it wrote before
-- its error stays. The ends of jobs, which its caller logs, go before the reply.
local function finished(ok, reply)
  if memo.lanes then
    Lanes.save()
  end
  if memo.bytes then
    Memory.save()
  end
  if not ok then
    error(reply, 0)
  end
  return memo.ends and { 'ended', memo.ends, reply } or reply
end

-- Settings come as one JSON text, the same one in almost every call.
local settings = { text = '', value = nil }

-- Registers a function of {settings or '', arguments as JSON, text}. Flags: `no-writes` also runs on a server that
-- takes no writes; `allow-oom` also on one whose memory is full, because it ends what was accepted, or frees memory.
local function transition(name, flags, body)
  local function callback(_, argv)
    call, find, sub, byte = redis.call, string.find, string.sub, string.byte
    writable = flags[1] ~= 'no-writes'
    memo = { records = {}, json = {}, charges = {}, answers = {} }
    if argv[1] ~= '' and argv[1] ~= settings.text then
      settings.text, settings.value = argv[1], cjson.decode(argv[1])
    end
    a, text = cjson.decode(argv[2]), argv[3]
    S, now = argv[1] ~= '' and settings.value or a, a.now or clock()
    return finished(pcall(body))
  end
  redis.register_function({ function_name = '@NAME@_' .. name, flags = flags, callback = callback })
end
