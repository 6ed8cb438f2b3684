-- What the records take of the server's memory, and who is charged for it.
--   mem          hash  bytes by caller, what is reserved for them included; '' = what is reserved of all, while anything is open
--   keep:<hour>  hash  what of them is taken off (`fold`) with that hour, whatever became of the records by then
-- A record's field `m` says what is charged for it: reserve, bytes, hour of its keep, caller.

local HOUR_MS = 3600000

-- What a job and its work take beside their texts, index entries included; its end; a list that only one
-- job is in; a job's webhook with its calls; a picture's hold.
Memory.JOB_BYTES, Memory.WORK_BYTES, Memory.END_BYTES = 760, 800, 800
Memory.LIST_BYTES, Memory.HOOK_BYTES, Memory.HOLD_BYTES = 230, 700, 260

local function hour_of(seconds)
  return math.floor((now + seconds * 1000) / HOUR_MS) + 1
end

-- Adds to what a call changes in keep:<hour>, or in mem, which is hour 0.
local function add_bytes(hour, caller, bytes)
  memo.bytes = memo.bytes or {}
  local callers = memo.bytes[hour] or {}
  memo.bytes[hour], callers[caller] = callers, (callers[caller] or 0) + bytes
end

-- Adds to what a caller is charged until an hour is over. What was charged until one that is over, `fold` takes off, or did.
local function add_charge(room, bytes, hour, caller)
  if room ~= 0 then
    add_bytes(0, '', room)
  end
  if hour > now / HOUR_MS then
    add_bytes(0, caller, room + bytes)
    add_bytes(hour, caller, room + bytes)
  end
end

-- Writes what a call has charged.
function Memory.save()
  for hour, callers in pairs(memo.bytes) do
    local key = hour == 0 and P .. 'mem' or string.format('%skeep:%d', P, hour)
    for caller, bytes in pairs(callers) do
      if bytes ~= 0 and call('HINCRBY', key, caller, bytes) == 0 then
        call('HDEL', key, caller)
      end
    end
  end
end

-- Charges a caller for a new record that goes in `seconds`, one of open work after any; what is returned is written as its `m`.
function Memory.charge(id, caller, bytes, room, seconds)
  local hour = hour_of(seconds or Files.LIVE_S)
  add_charge(room, bytes, hour, caller)
  memo.charges[id] = string.format('%d %d %d %s', room, bytes, hour, caller)
  return memo.charges[id]
end

local function charge_of(id)
  local m = memo.charges[id]
  if m == nil then
    m = redis.pcall('HGET', P .. id, 'm')
  end
  local room, bytes, hour, caller = string.match(type(m) == 'string' and m or '', '^(%d+) (%d+) (%d+) (.+)$')
  return tonumber(room), tonumber(bytes), tonumber(hour), caller
end

-- What a record takes that has not ended, without its reserve.
function Memory.bytes_of(id)
  local _, bytes = charge_of(id)
  return bytes or Memory.WORK_BYTES
end

-- Settles a record's charge to what it holds; it goes `seconds` from now. Returns its `m`.
function Memory.settle(id, bytes, seconds, reserve)
  local room, before, hour, caller = charge_of(id)
  if not room then
    return ''
  end
  add_charge(-room, -before, hour, caller)
  return Memory.charge(id, caller, bytes, reserve or 0, seconds)
end

-- Takes back what is charged for a record that goes now.
function Memory.free(id)
  local room, bytes, hour, caller = charge_of(id)
  if room then
    add_charge(-room, -bytes, hour, caller)
  end
end

-- Moves what is charged for a record that lives for so long from now.
function Memory.prolong(id, seconds)
  local _, bytes, hour = charge_of(id)
  if hour and hour ~= hour_of(seconds) then
    call('HSET', P .. id, 'm', Memory.settle(id, bytes, seconds))
  end
end

-- Callers whose bytes are looked at in one call.
local CALLERS = 100

-- Hours that are looked through for the first one in which something went, and how far back the first look goes.
local HOURS, FURTHEST = 1000, 1000

-- Takes off what went by itself in hours that have passed, a piece of it; returns 1 where there may be more.
transition('fold', { 'allow-oom' }, function()
  local passed, found, key = math.floor(now / HOUR_MS), {}, nil
  -- After the clock was set back, hours that had passed come again.
  local hour = math.min(tonumber(call('HGET', P .. 'upkeep', 'folded') or passed - FURTHEST), passed)
  local last = math.min(hour + HOURS, passed)
  while #found == 0 and hour < last do
    hour = hour + 1
    key = P .. 'keep:' .. hour
    found = call('HRANDFIELD', key, CALLERS, 'WITHVALUES') or {}
  end
  for i = 1, #found, 2 do
    add_bytes(0, found[i], -found[i + 1])
    call('HDEL', key, found[i])
  end
  call('HSET', P .. 'upkeep', 'folded', #found == 0 and hour or hour - 1)
  if call('EXISTS', P .. 'deadlines') == 0 then
    -- Nothing is open, so nothing is reserved, whatever became of some records.
    call('HDEL', P .. 'mem', '')
  end
  return (#found > 0 or last < passed) and 1 or 0
end)

-- Reads {used, limit (0 = none), 1 where the server may evict records else 0, reserved}, in bytes, and how many
-- records could not be read.
transition('memory', { 'no-writes' }, function()
  local info = call('INFO', 'memory')
  local policy = string.match(info, 'maxmemory_policy:(%S+)') or 'noeviction'
  return { tonumber(string.match(info, 'used_memory:(%d+)')), tonumber(string.match(info, 'maxmemory:(%d+)') or 0),
    policy == 'noeviction' and 0 or 1, math.max(tonumber(call('HGET', P .. 'mem', '') or 0), 0),
    call('HLEN', P .. 'bad') }
end)

-- A call that writes nothing but may: a replica refuses it, and so does a server whose disk is full or that has too few
-- replicas. A server with full memory does not: running work is still written.
transition('writable', { 'allow-oom' }, function()
  Upkeep.notice_gap()
  return 1
end)

-- A replica answers once a second: one that is silent for longer does not follow. INFO costs as much as some calls.
local MOST_SILENT_S, COUNT_EVERY_MS = 5, 100
-- What this server alone remembers: the `most` replicas that it had as the primary `id`, since when some are missing,
-- and when they were counted.
local replicas = { most = 0 }

-- How many replicas must have what was written: those that follow, and those that stopped less than `gone_s` ago.
local function demanded_replicas()
  if not replicas.at or math.abs(now - replicas.at) >= COUNT_EVERY_MS then
    local info, online = call('INFO', 'replication'), 0
    for silent_s in string.gmatch(info, 'state=online,offset=%d+,lag=(%d+)') do
      online = online + (tonumber(silent_s) <= MOST_SILENT_S and 1 or 0)
    end
    local id, since = string.match(info, 'master_replid:(%x+)'), replicas.since or now
    if id ~= replicas.id or online >= replicas.most or now - since > a.gone_s * 1000 then
      replicas = { id = id, most = online }
    else
      replicas.since = since
    end
    replicas.at = now
  end
  return math.max(replicas.most, 1)
end

-- A write, for what is to have reached replicas or the disk together with all that was written before. Returns how many
-- have to acknowledge it.
transition('mark_written', { 'allow-oom' }, function()
  call('SET', P .. 'written', 1)
  return a.gone_s and demanded_replicas() or 1
end)

-- Writes the key `rights` with each type, tells a channel, and leaves nothing: a user without the right to one gets its error.
transition('rights', { 'allow-oom' }, function()
  local key = P .. 'rights'
  for _, command in ipairs({ { 'SET', '1' }, { 'HSET', 'f', '1' }, { 'ZADD', '1', 'm' }, { 'SADD', 'm' }, { 'RPUSH', 'm' },
    { 'XADD', '*', 'f', '1' } }) do
    call(command[1], key, unpack(command, 2))
    call('DEL', key)
  end
  wake('rights', 'state')
  return 1
end)
