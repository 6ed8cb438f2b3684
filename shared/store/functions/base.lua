-- What every function starts from. This file comes first in the library; every other file is a block of its own, and what
-- other files use of it stands in a table of the file's name (queue.lua: Queue).
-- While a library loads, no Lua function is there but `redis.register_function`: files hold only definitions.
local P = 'sl3:' -- the prefix of every key: PREFIX of shared/store/keys.py

-- What one call is about: `a` its arguments, `text` a large text that is stored as it is, `now` Unix ms (tests set it
-- in `a`), `memo` what was computed for it before.
local call, a, text, now, memo

local function clock()
  local t = call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- The records' version. Two releases may work on one store. Records are read, changed and written whole, so fields that a
-- release does not know survive it: a new field needs no version. Where the meaning of a record changes, the version rises,
-- and an older release leaves such work to newer ones. Where keys change, P does, and nobody reads the former records.
local VERSION = 1

-- Records: a job (job_…) and a run (run_…) is a hash. Its field `r` holds its fields as one JSON object, `t` those that
-- change with each piece of text (PROGRESS). Some stand beside them (SEPARATE): texts that may be large, and `due`, what a
-- caller is charged for the next turn, which is also read of work that a call does not touch. A call reads a record once and
-- writes it once, after its function.
local PROGRESS = { token = true, seq = true, chars = true, choices = true, first = true, unread = true,
  server = true, streamed = true, wrote = true }
local SEPARATE = { request = true, terms = true, result = true, bare = true, origin = true, due = true }

-- A record that cannot be read is put aside for so long, for somebody to look at.
local ASIDE_S = 604800

local NEEDED = { run = { 'v', 'caller', 'lane', 'priority', 'state' }, job = { 'v', 'caller', 'model_lane', 'created' } }

-- Puts a record aside as <id> of aside:<id>, with the reason in bad, a hash: for everybody else it is gone, which ends the
-- jobs that hang on it.
local function set_aside(id, why)
  memo.records[id], memo.progress[id], memo.changed[id] = false, false, nil
  if not memo.writes then
    return
  end
  -- What the audit cannot look at may also be the record of something else, which stays.
  if string.find(id, '^%l%l%l_%x+$') and redis.pcall('RENAME', P .. id, P .. 'aside:' .. id).ok then
    call('EXPIRE', P .. 'aside:' .. id, ASIDE_S)
  end
  call('HSET', P .. 'bad', id, string.sub(tostring(why), 1, 200))
end

local function decoded(json)
  local ok, value = pcall(cjson.decode, json)
  return ok and type(value) == 'table' and value or nil
end

-- What is wrong with a record as it was read; nil where nothing is.
local function fault(id, found, known)
  if found.err then
    return found.err
  elseif not found[1] then
    return nil
  elseif not known or found[2] and not decoded(found[2]) then
    return 'its fields are no JSON object'
  end
  for _, name in ipairs(NEEDED[string.sub(id, 1, 3)] or {}) do
    if known[name] == nil then
      return 'it lacks ' .. name
    end
  end
end

-- The fields of a record without its progress; nil where there is none, or none that can be read.
local function record(id)
  local known = memo.records[id]
  if known == nil then
    local found = redis.pcall('HMGET', P .. id, 'r', 't')
    known = found[1] and decoded(found[1]) or false
    local why = fault(id, found, known)
    if why then
      set_aside(id, why)
      return nil
    end
    memo.records[id], memo.json[id] = known, found[1]
    if memo.progress[id] == nil then
      memo.progress[id] = found[2] and decoded(found[2])
    end
  end
  return known or nil
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

local function progress(id)
  local known = memo.progress[id]
  if known == nil then
    local json = redis.pcall('HGET', P .. id, 't')
    known = type(json) == 'string' and decoded(json) or false
    memo.progress[id] = known
  end
  return known or nil
end

-- Whether there is a record, without reading it.
local function exists(id)
  if memo.records[id] ~= nil then
    return memo.records[id] and true
  end
  return call('EXISTS', P .. id) == 1
end

local function get_text(id, name)
  local texts = memo.texts[id]
  if texts and texts[name] ~= nil then
    return texts[name] or nil
  end
  local found = memo.records[id] ~= false and not memo.created[id] and redis.pcall('HGET', P .. id, name)
  return type(found) == 'string' and found or nil
end

local function get(id, name)
  if SEPARATE[name] then
    return get_text(id, name)
  end
  local known
  if PROGRESS[name] then
    known = progress(id)
  else
    known = record(id)
  end
  return known and known[name]
end

local function fields(id, name, ...)
  if name then
    return get(id, name), fields(id, ...)
  end
end

-- The fields of one kind (records or progress), to be changed.
local function changing(kind, id, known)
  memo[kind][id] = known or {}
  memo.changed[id] = memo.changed[id] or {}
  memo.changed[id][kind] = true
  return memo[kind][id]
end

-- Sets fields, names and values in turn; a value of nil removes the field, but no text. What is gone stays so.
local function put(id, ...)
  if not (memo.records[id] or memo.progress[id] or record(id)) then
    return
  end
  local given, known, going = { ... }, nil, nil
  for i = 1, select('#', ...), 2 do
    local name, value = given[i], given[i + 1]
    if SEPARATE[name] then
      if value ~= nil then
        memo.changed[id] = memo.changed[id] or {}
        memo.texts[id] = memo.texts[id] or {}
        memo.texts[id][name] = value
      end
    elseif PROGRESS[name] then
      going = going or changing('progress', id, progress(id))
      going[name] = value
    else
      known = known or changing('records', id, record(id))
      known[name] = value
    end
  end
end

-- Begins a record, of which nothing is stored yet.
local function create(id, ...)
  memo.records[id], memo.progress[id], memo.created[id] = {}, {}, true
  put(id, ...)
end

local function remove(id, ...)
  for _, name in ipairs({ ... }) do
    if SEPARATE[name] then
      put(id, name, false)
    else
      put(id, name, nil)
    end
  end
end

local function increase(id, name, by)
  local sum = (get(id, name) or 0) + by
  put(id, name, sum)
  return sum
end

-- A record as JSON: its fields, and its progress or ''.
local function json_of(id)
  local changed = memo.changed[id] or {}
  local known, running = record(id), progress(id)
  return changed.records and cjson.encode(known) or memo.json[id], running and cjson.encode(running) or ''
end

-- Lets a record live for so many seconds from now on; false = until something ends it.
local function expire(id, seconds)
  memo.lives[id] = seconds
end

local function delete(id)
  for _, kind in ipairs({ 'changed', 'lives', 'texts' }) do
    memo[kind][id] = nil
  end
  memo.records[id], memo.progress[id] = false, false
  call('DEL', P .. id)
end

-- What has changed of a record, as names and values.
local function changes(id, changed)
  local written, n = {}, 0
  local function add_change(name, value)
    written[n + 1], written[n + 2] = name, value
    n = n + 2
  end
  if changed.records then
    add_change('r', cjson.encode(memo.records[id]))
  end
  if changed.progress then
    add_change('t', cjson.encode(memo.progress[id]))
  end
  for name, value in pairs(memo.texts[id] or {}) do
    if value then
      add_change(name, value)
    else
      call('HDEL', P .. id, name)
    end
  end
  return written
end

-- Writes what a function has changed.
local function save()
  for id, changed in pairs(memo.changed) do
    local written = changes(id, changed)
    if #written > 0 then
      call('HSET', P .. id, unpack(written))
    end
  end
  for id, seconds in pairs(memo.lives) do
    if seconds then
      call('EXPIRE', P .. id, seconds)
    else
      call('PERSIST', P .. id)
    end
  end
end

local function is_newer(id)
  return tonumber(get(id, 'v') or 1) > VERSION
end

local function is_run(id)
  return string.sub(id, 1, 4) == 'run_'
end

-- Whether this is a caller's job. The id may be anything a stranger typed: it must not reach our other keys.
local function owned(job, caller)
  return string.find(job, '^job_%x+$') and get(job, 'caller') == caller
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

-- A run with several answers takes a row for each. What the members of a set (running:<lane>, held:<worker>,
-- queue:<lane>) take beyond one row each is counted under the set's name in extra; `sign` is 1 for a member that comes,
-- -1 for one that goes.
local function count_rows(set, rows, sign)
  local more = tonumber(rows or 1) - 1
  if more > 0 and call('HINCRBY', P .. 'extra', set, sign * more) <= 0 then
    call('HDEL', P .. 'extra', set)
  end
end

local function extra_rows(set)
  return tonumber(call('HGET', P .. 'extra', set) or 0)
end

-- Work leaves its lease, however the attempt went.
local function unlease(id, lane)
  local worker, rows = fields(id, 'worker', 'rows')
  for _, set in ipairs({ 'running:' .. lane, worker and 'held:' .. worker or nil }) do
    if call('SREM', P .. set, id) == 1 then
      count_rows(set, rows, -1)
    end
  end
  call('ZREM', P .. 'lease', id)
end

-- The reply of a command that reads what no function both changes and reads again: asked once in a call.
local function once(...)
  local words = table.concat({ ... }, ' ')
  if memo.reads[words] == nil then
    memo.reads[words] = call(...)
  end
  return memo.reads[words]
end

-- Tells waiting API processes (and workers) that `id` changed; `kind` is text or state.
local function wake(id, kind)
  call('PUBLISH', P .. 'wake:' .. id, kind)
end

-- Registers a function of the library. Flags: `no-writes` also runs where the server takes no writes; `allow-oom` also
-- where its memory is full, because it ends what was accepted, or frees memory.
local function transition(name, flags, body)
  redis.register_function({
    function_name = '@NAME@_' .. name,
    flags = flags,
    callback = function(_, argv)
      call, a, text, memo = redis.call, cjson.decode(argv[1]), argv[2],
        { writes = flags[1] ~= 'no-writes', ahead = {}, records = {}, progress = {}, created = {}, reads = {},
          json = {}, changed = {}, texts = {}, lives = {} }
      now = a.now or clock()
      local reply = body()
      save()
      return reply
    end,
  })
end
