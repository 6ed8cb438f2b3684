-- How much memory the server uses, how much it may (0 = no limit), in bytes; 1 where it may evict records, else 0.

local function server_memory()
  local info = call('INFO', 'memory')
  local policy = string.match(info, 'maxmemory_policy:(%S+)') or 'noeviction'
  return { tonumber(string.match(info, 'used_memory:(%d+)')), tonumber(string.match(info, 'maxmemory:(%d+)') or 0),
    policy == 'noeviction' and 0 or 1 }
end

-- What accepted work will still need: reserved, a number of bytes. Each run that has not ended, and each job whose inputs
-- are elsewhere, has its own part of it as `room`.

function Memory.reserve(id, room)
  if room and room > 0 then
    call('INCRBY', P .. 'reserved', room)
    put(id, 'room', room)
  end
end

function Memory.give_back_room(id)
  local room = get(id, 'room')
  if room then
    if call('DECRBY', P .. 'reserved', room) <= 0 then
      call('DEL', P .. 'reserved')
    end
    remove(id, 'room')
  end
end

-- Whether `bytes` more fit into what the caller of a function saw to be free (`spare`).
function Memory.fits(bytes)
  return not a.spare or (call('GET', P .. 'reserved') or 0) + bytes <= a.spare
end

-- What callers hold of the record store, in bytes, for as long as it is kept.
--   holdings:<part>  hash  bytes by caller of what goes in this part of result_s; parts are counted from 1970 on
-- A record's own are its `holding`, `<part> <bytes>`. The call's `a` needs result_s.

-- What has gone is counted for one part more at most.
local PARTS = 24

-- Of a job and of a run beside their texts, with their places in all lists.
Memory.JOB_BYTES, Memory.RUN_BYTES = 900, 1400

local function part_of(ms)
  return math.floor(ms / math.ceil(a.result_s * 1000 / PARTS))
end

local function add_holding(part, caller, bytes)
  local sum = call('HINCRBY', P .. 'holdings:' .. part, caller, bytes)
  if sum <= 0 then
    call('HDEL', P .. 'holdings:' .. part, caller)
  elseif sum == bytes then
    call('EXPIRE', P .. 'holdings:' .. part, a.result_s * 2)
  end
end

-- Takes a record's bytes back: what is purged is held no more. Where their part is gone already, nothing is left of it.
function Memory.release(id)
  local part, bytes = string.match(get(id, 'holding') or '', '^(%d+) (%d+)$')
  if part then
    add_holding(part, get(id, 'caller'), -bytes)
  end
end

-- Counts what a record holds, in place of what was counted before. What is kept for longer than result_s from now on is
-- counted for that: by its key's retain_s, or since it waits for its time or in line for days.
function Memory.hold(id, bytes)
  local part = string.format('%.0f', part_of(now + math.min(Runs.retention(id, a.result_s), a.result_s) * 1000))
  local former, counted = string.match(get(id, 'holding') or '', '^(%d+) (%d+)$')
  if former ~= part then
    Memory.release(id)
    counted = 0
  end
  if bytes ~= tonumber(counted) then
    add_holding(part, get(id, 'caller'), bytes - counted)
    put(id, 'holding', part .. ' ' .. string.format('%.0f', bytes))
  end
end

-- What a job holds beside its run: its notice has a copy of the answer.
function Memory.of_job(job)
  local metadata, response, quiet = fields(job, 'metadata', 'response', 'quiet')
  return Memory.JOB_BYTES + #metadata + #(response or '') + (quiet and 0 or #(Webhooks.answer_told(record(job)) or ''))
end

local function holding_of(caller)
  local bytes = 0
  for part = part_of(now), part_of(now + a.result_s * 1000) do
    bytes = bytes + (call('HGET', P .. 'holdings:' .. string.format('%.0f', part), caller) or 0)
  end
  return bytes
end

-- Reads how much memory the server uses, how much it may, whether it may evict records, and how much accepted work will
-- need more.
--   a       nothing
--   returns {used, limit, evicts, reserved}, as above
transition('memory', { 'no-writes' }, function()
  local found = server_memory()
  table.insert(found, math.max(tonumber(call('GET', P .. 'reserved') or 0), 0))
  return found
end)

-- A call that writes nothing but may: a replica refuses it, and so does a server whose disk is full or that has too few
-- replicas. A server with full memory does not: running work is still written.
--   a      gap_ms, grace_ms
--   writes gap hash
--   returns 1
transition('writable', { 'allow-oom' }, function()
  Upkeep.notice_gap()
  return 1
end)

-- Reads about how many bytes a caller holds of the record store.
--   a      caller, result_s
--   reads  holdings:<part> hashes
--   returns the bytes
transition('holding', { 'no-writes' }, function()
  return holding_of(a.caller)
end)
