-- What every script starts from.
-- KEYS[1]  prefix of every key, schema version included; other keys are built from it (no Redis Cluster)
-- ARGV[1]  JSON object `a` with the arguments; `now` (Unix ms) replaces the server's clock in tests
-- ARGV[2]  where a script has one: a large text that is stored as it is
local P = KEYS[1]
local a = cjson.decode(ARGV[1])

local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local now = a.now or clock()

-- The records' version. It rises with every change that an older release cannot read: that release leaves such work to
-- newer ones.
local VERSION = 1

local function is_newer(id)
  return tonumber(redis.call('HGET', P .. id, 'v') or 1) > VERSION
end

local function is_run(id)
  return string.sub(id, 1, 4) == 'run_'
end

-- Whether this is a caller's job. The id may be anything a stranger typed: it must not reach our other keys.
local function owned(job, caller)
  return string.find(job, '^job_%x+$') and redis.call('HGET', P .. job, 'caller') == caller
end

-- With full memory the server refuses a script at its first write, unless that write only frees; then the script may
-- finish.
local function dirty_first()
  redis.call('DEL', P .. 'dirty')
end

-- Some fields of a hash by their names; absent ones are nil.
local function fields_at(key, names)
  local values, found = redis.call('HMGET', key, unpack(names)), {}
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
  if more > 0 and redis.call('HINCRBY', P .. 'extra', set, sign * more) <= 0 then
    redis.call('HDEL', P .. 'extra', set)
  end
end

local function extra_rows(set)
  return tonumber(redis.call('HGET', P .. 'extra', set) or 0)
end

-- Work leaves its lease, however the attempt went.
local function unlease(id, lane)
  local worker, rows = unpack(redis.call('HMGET', P .. id, 'worker', 'rows'))
  for _, set in ipairs({ 'running:' .. lane, worker and 'held:' .. worker or nil }) do
    if redis.call('SREM', P .. set, id) == 1 then
      count_rows(set, rows, -1)
    end
  end
  redis.call('ZREM', P .. 'lease', id)
end

-- Tells waiting API processes (and workers) that `id` changed; `kind` is text or state.
local function wake(id, kind)
  redis.call('PUBLISH', P .. 'wake:' .. id, kind)
end
