-- How much memory the server uses, how much it may (0 = no limit), in bytes; 1 where it may evict records, else 0.

local function server_memory()
  local info = call('INFO', 'memory')
  local policy = string.match(info, 'maxmemory_policy:(%S+)') or 'noeviction'
  return { tonumber(string.match(info, 'used_memory:(%d+)')), tonumber(string.match(info, 'maxmemory:(%d+)') or 0),
    policy == 'noeviction' and 0 or 1 }
end

-- What callers hold of the record store, about: bytes of what they had taken in, for as long as it is kept after its end,
-- or until it is purged.
--   holdings:<part>  hash  bytes by caller of what goes in this part of result_s; parts are counted from 1970 on
-- A job's own are its `holding`, `<part> <bytes>`. The call's `a` needs result_s.

-- What has gone is counted for one part more at most.
local PARTS = 24

-- Of a short job without its texts (docs/fleet.md), and of one that another's run answers.
Memory.JOB_BYTES, Memory.SHARED_BYTES = 7400, 1600

local function part_of(ms)
  return math.floor(ms / math.ceil(a.result_s * 1000 / PARTS))
end

-- What is kept for longer than result_s from now on is counted for that: by its key's retain_s, or since it waits for
-- its time or in line for days, which max_queued_caller bounds.
function Memory.count_holding(job, caller, bytes, life_s)
  local part = string.format('%.0f', part_of(now + math.min(life_s, a.result_s) * 1000))
  local key = P .. 'holdings:' .. part
  call('HINCRBY', key, caller, bytes)
  call('EXPIRE', key, a.result_s * 2)
  put(job, 'holding', part .. ' ' .. bytes)
end

-- Takes a `holding` back: what is purged is held no more. Where its part is gone already, nothing is left of it.
function Memory.give_back_holding(caller, holding)
  local part, bytes = string.match(holding or '', '^(%d+) (%d+)$')
  if part and call('HINCRBY', P .. 'holdings:' .. part, caller, -bytes) <= 0 then
    call('HDEL', P .. 'holdings:' .. part, caller)
  end
end

local function holding_of(caller)
  local bytes = 0
  for part = part_of(now), part_of(now + a.result_s * 1000) do
    bytes = bytes + (call('HGET', P .. 'holdings:' .. string.format('%.0f', part), caller) or 0)
  end
  return bytes
end

-- Reads how much memory the server uses, how much it may, whether it may evict records, and how much work will need more.
--   a       lanes {lane, …}
--   returns {used, limit, evicts, waiting}: as above; runs that wait in these lanes, scheduled
--           ones included
transition('memory', { 'no-writes' }, function()
  local found, waiting = server_memory(), 0
  for _, lane in ipairs(a.lanes) do
    waiting = waiting + call('ZCARD', P .. 'queue:' .. lane)
      + tonumber(call('HGET', P .. 'later:' .. lane, '') or 0)
  end
  table.insert(found, waiting)
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
