-- What every function starts from. This file comes first in the library; every other file is a block of its own, and what
-- other files use of it stands in a table of the file's name (fair_queue.lua: FairQueue).
-- While a library loads, no Lua function is there but `redis.register_function`: files hold only definitions.
--
-- Two releases may work on one store, each with its own library. The rule for whoever changes a record: it is read, changed
-- and written whole, so fields that a release does not know survive it; a new field needs nothing more, as long as its
-- absence means what held before. Where the meaning of a field changes, it gets another name. Where keys change, P does:
-- start and doctor refuse a store of the former prefix, and nobody reads or mends former records.
local P = 'sl9:' -- the prefix of every key: PREFIX of shared/store/keys.py

-- What one call is about: `a` its arguments, `S` the settings, `text` a large text that is stored as it is, `now` Unix ms.
local call, a, S, text, now
-- Whether the call may write; what it looked up before.
local writable, memo

-- Functions that a page of jobs uses hundreds of times.
local find, sub, byte

local function clock()
  local t = call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function decoded(json)
  local ok, value = pcall(cjson.decode, json)
  return ok and type(value) == 'table' and value or nil
end

-- Tells waiting API processes (and workers) that `id` changed: `news` is `state` where that may be its end, `event` where there is
-- something to read for who follows it, or a text event itself (events.lua).
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

-- The reverse.
local function flat(fields)
  local list = {}
  for name, value in pairs(fields) do
    add(list, name, value)
  end
  return list
end

-- The words of a text, one after the other; of an absent one none.
local function words(list)
  return string.gmatch(list or '', '%S+')
end

local function count_words(list)
  return select(2, string.gsub(list or '', '%S+', ''))
end

-- Records: a job (job_…) or a batch (batch_…) is a hash of JSON objects: `r` what it was created with, `s` what has
-- changed since, `t` what changes with each piece of text. Beside them `m`, what its caller is charged (memory.lua),
-- and large texts. A call reads a record once and writes it once.
local NEEDED = { job = { 'caller', 'model_lane', 'created', 'metadata', 'priority' } }

-- An id may be anything a stranger typed: it must not reach our other keys.
local function is_job(id)
  return id and string.find(id, '^job_%x+$')
end

-- Whether work is a model's: not a batch's turn, and no look for inputs.
local function is_computed(work)
  return sub(work.lane, 1, 6) == 'model.'
end

-- `bad`, a hash, has so many names and reasons.
local MOST_BAD = 1000

-- Names something that cannot be read, for operators.
local function note_bad(id, why)
  call('HSET', P .. 'bad', id, string.sub(tostring(type(why) == 'table' and why.err or why), 1, 200))
  if call('HLEN', P .. 'bad') > MOST_BAD then
    call('HDEL', P .. 'bad', call('HRANDFIELD', P .. 'bad'))
  end
end

-- Does something for each member of an index; one that fails is taken out, and the rest goes on.
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

-- Reads a record's JSON texts, and the fields asked for behind them. What the call knows of it already stays.
local function fetch(id, ...)
  local found = redis.pcall('HMGET', P .. id, 'r', 's', 't', ...)
  if found[1] and not memo.json[id] then
    memo.json[id] = { found[1], found[2] or '', found[3] or '' }
  end
  return found
end

-- A record as it is stored: a table of its fields, the same one for whoever asks in this call, with its `id` and its
-- progress `t`; and the texts asked for. nil where there is none. One that cannot be read fails, in the first call
-- that may write and has settings.
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

-- The same as its caller sees it: batches, webhooks and followers read records for longer.
local function read(id, ...)
  return visible(stored(id, ...))
end

-- Fields of a record by their names as JSON writes them (name":), without decoding it: within a value quotes are escaped, so
-- that only a name stands before a quote and a colon. Each quote of a text would be looked at for a name that began with one.
-- The text with a field, and where its value begins; else nil.
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

-- The JSON texts {r, s, t} of a record, without a look into them, and up to two texts asked for.
local function raw(id, ...)
  local found = memo.json[id] and not ... and {} or fetch(id, ...)
  return memo.records[id] ~= false and memo.json[id], found[4], found[5]
end

-- The same of a job that its caller sees.
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

-- Work was queued when it was created, where its record does not say otherwise: cjson takes long to write a number.
local function encode_created(record)
  local id, t, queued_at = record.id, record.t, record.queued_at
  record.id, record.t, record.queued_at = nil, nil, queued_at ~= record.created and queued_at or nil
  local json = cjson.encode(record)
  record.id, record.t, record.queued_at = id, t, queued_at
  return json
end

-- Progress once there is text: what each piece changes comes first.
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

-- The counts of lanes and what callers are charged are written at the end of a call, also of one that fails: what it wrote
-- before its error stays written. The ends of jobs that its caller logs go before the reply.
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

-- Registers a function: {settings or '', arguments as JSON, text}. Flags: `no-writes` also runs where the server takes no writes;
-- `allow-oom` also where its memory is full, because it ends what was accepted, or frees memory.
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
