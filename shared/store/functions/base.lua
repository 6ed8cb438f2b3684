-- What every function starts from. This file comes first in the library; every other file is a block of its own, and what
-- other files use of it stands in a table of the file's name (queue.lua: Queue).
-- While a library loads, no Lua function is there but `redis.register_function`: files hold only definitions.
--
-- Two releases may work on one store, each with its own library. The rule for whoever changes a record: it is read, changed
-- and written whole, so fields that a release does not know survive it; a new field needs nothing more, as long as its
-- absence means what held before. Where the meaning of a field changes, it gets another name. Where keys change, P does:
-- start and doctor refuse a store of the former prefix, and nobody reads or mends former records.
local P = 'sl3:' -- the prefix of every key: PREFIX of shared/store/keys.py

-- What one call is about: `a` its arguments, `S` the settings, `text` a large text that is stored as it is, `now` Unix ms.
local call, a, S, text, now
-- Whether the call may write; what it looked up before.
local writable, memo

local function clock()
  local t = call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function decoded(json)
  local ok, value = pcall(cjson.decode, json)
  return ok and type(value) == 'table' and value or nil
end

-- Tells waiting API processes (and workers) that `id` changed; `kind` is text or state.
local function wake(id, kind)
  call('PUBLISH', P .. 'wake:' .. id, kind)
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
    table.insert(fields, name)
    table.insert(fields, value)
  end
end

-- Records: a job (job_…) and a run (run_…) is a hash. Its field `r` holds its fields as one JSON object; a run's `t` those
-- that change with each piece of text, `m` what its caller is charged (memory.lua); large texts stand beside them. A call
-- reads a record once and writes it once.
local NEEDED = { run = { 'caller', 'lane', 'priority', 'state', 'job' }, job = { 'caller', 'model_lane', 'created' } }

-- A record that cannot be read is put aside for so long, for somebody to look at.
local ASIDE_S = 604800

-- Puts a record aside as <id> of aside:<id>, with the reason in bad, a hash: for everybody else it is gone, which ends the
-- jobs that hang on it.
local function set_aside(id, why)
  if not writable then
    return
  end
  if string.find(id, '^%l%l%l_%x+$') and redis.pcall('EXISTS', P .. id) == 1 then
    Memory.free(id)
    call('RENAME', P .. id, P .. 'aside:' .. id)
    call('EXPIRE', P .. 'aside:' .. id, ASIDE_S)
  end
  call('HSET', P .. 'bad', id, string.sub(tostring(why), 1, 200))
end

-- Does something for each id; where that fails, the record is put aside and the rest goes on.
local function each(ids, act)
  for _, id in ipairs(ids) do
    local ok, why = pcall(act, id)
    if not ok then
      set_aside(id, why)
    end
  end
end

local function fault(id, found, record, t)
  if found.err then
    return found.err
  elseif not record or not t then
    return 'its fields are no JSON object'
  end
  for _, name in ipairs(NEEDED[string.sub(id, 1, 3)] or {}) do
    if record[name] == nil then
      return 'it lacks ' .. name
    end
  end
end

-- A record as it is stored: a table of its fields, the same one for whoever asks in this call, with its `id` and its
-- progress `t`; and the texts asked for. nil where there is none, or none that can be read.
local function stored(id, ...)
  local record = memo.records[id]
  if record == nil or ... then
    local found = redis.pcall('HMGET', P .. id, 'r', 't', 'm', ...)
    if record == nil then
      local t, why
      record = false
      if found.err or found[1] then
        record, t = decoded(found[1] or ''), decoded(found[2] or '{}')
        why = fault(id, found, record, t)
      end
      if why then
        set_aside(id, why)
        record = false
      elseif record then
        record.id, record.t = id, t
        memo.json[id], memo.charges[id] = { found[1], found[2] or '' }, found[3]
      end
      memo.records[id] = record
    end
    if record and ... then
      return record, unpack(found, 4, 3 + select('#', ...))
    end
  end
  return record or nil
end

-- The same for whoever sees it no longer than promised: the log of ends reads records for longer than that.
local function read(id, ...)
  local found = { stored(id, ...) }
  if found[1] and not (found[1].till and now >= found[1].till) then
    return unpack(found, 1, 1 + select('#', ...))
  end
end

-- The JSON texts of a record and of its progress, and the texts asked for, without a look into them; nil where there is none, or
-- it is seen no longer.
local function read_raw(id, ...)
  if memo.records[id] == nil then
    local found = redis.pcall('HMGET', P .. id, 'r', 't', ...)
    local till = not found.err and found[1] and string.match(found[1], '"till":(%d+)')
    if not found.err and found[1] and not (till and now >= tonumber(till)) then
      return found[1], found[2] or '', unpack(found, 3, 2 + select('#', ...))
    end
    return nil
  end
  local found = { read(id, ...) }
  if found[1] then
    return memo.json[id][1], memo.json[id][2], unpack(found, 2, 1 + select('#', ...))
  end
end

-- The JSON texts of a record and of its progress, as they were read or written last.
local function json_of(record)
  local json = memo.json[record.id]
  return json[1], json[2]
end

-- Begins a record: a table of its fields.
local function create(id, record)
  record.id, record.t = id, {}
  memo.records[id] = record
  return record
end

local function delete(id)
  memo.records[id] = false
  call('DEL', P .. id)
end

-- Writes a record, with texts as names and values in turn.
local function write(record, ...)
  local id, t = record.id, record.t
  record.id, record.t = nil, nil
  local json, progress = cjson.encode(record), next(t) and cjson.encode(t) or memo.json[id] and '{}'
  record.id, record.t = id, t
  memo.json[id] = { json, progress or '' }
  if progress then
    call('HSET', P .. id, 'r', json, 't', progress, ...)
  else
    call('HSET', P .. id, 'r', json, ...)
  end
end

local function is_run(id)
  return string.sub(id, 1, 4) == 'run_'
end

-- A caller's job; nil for anybody else's. The id may be anything a stranger typed: it must not reach our other keys.
local function owned(id, caller)
  local job = id and string.find(id, '^job_%x+$') and read(id)
  return job and job.caller == caller and job or nil
end

-- Settings come as one JSON text, the same one in almost every call.
local settings = { text = '', value = nil }

local function set_up(flags, given)
  call, memo, writable = redis.call, { records = {}, json = {}, charges = {}, bytes = {}, lanes = {}, facts = {} }, flags[1] ~= 'no-writes'
  if given ~= settings.text then
    settings.text, settings.value = given, given ~= '' and cjson.decode(given) or nil
  end
  S = settings.value
end

-- The counts of lanes and what callers are charged is written at the end of a call, also of one that fails: an error takes no write back.
local function finished(ok, reply)
  if writable then
    Lanes.save()
    Memory.save()
  end
  if not ok then
    error(reply, 0)
  end
  return reply
end

local function register(name, flags, callback)
  redis.register_function({ function_name = '@NAME@_' .. name, flags = flags, callback = callback })
end

-- Registers a function of the library, called with {settings, arguments as JSON, text}. Flags: `no-writes` also runs where
-- the server takes no writes; `allow-oom` also where its memory is full, because it ends what was accepted, or frees memory.
local function transition(name, flags, body)
  register(name, flags, function(_, argv)
    set_up(flags, argv[1])
    a, text = cjson.decode(argv[2]), argv[3]
    S = S or a
    now = a.now or clock()
    return finished(pcall(body))
  end)
end

-- The same for functions that every job passes: {settings, arguments in the order of their names, text}, where '' is absent and
-- a name with # a number. A test's clock comes as a key: <prefix><Unix ms>.
local function hot(name, names, flags, body)
  local order
  register(name, flags, function(keys, argv)
    set_up(flags, argv[1])
    now = keys[1] and tonumber(string.sub(keys[1], #P + 1)) or clock()
    if not order then
      order = {}
      for word, number in string.gmatch(names, '([%w_]+)(#?)') do
        table.insert(order, { word, number == '#' })
      end
    end
    a = {}
    for i, parameter in ipairs(order) do
      local value = argv[i + 1]
      if value ~= '' then
        a[parameter[1]] = parameter[2] and tonumber(value) or value
      end
    end
    text = argv[#order + 2]
    return finished(pcall(body))
  end)
end
