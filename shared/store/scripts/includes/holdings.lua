-- What callers hold of the record store, about: bytes of what they had taken in, for as long as it is kept after its end,
-- or until it is purged.
--   holdings:<part>  hash  bytes by caller of what goes in this part of result_s; parts are counted from 1970 on
-- A job's own are its `holding`, `<part> <bytes>`. The script's `a` needs result_s.

-- What has gone is counted for one part more at most.
local PARTS = 24
-- Of a short job without its texts (docs/fleet.md), and of one that another's run answers.
local JOB_BYTES, SHARED_BYTES = 7400, 1600

local function part_of(ms)
  return math.floor(ms / math.ceil(a.result_s * 1000 / PARTS))
end

-- What is kept for longer than result_s from now on is counted for that: by its key's retain_s, or since it waits for
-- its time or in line for days, which max_queued_caller bounds.
local function count_holding(job, caller, bytes, life_s)
  local part = string.format('%.0f', part_of(now + math.min(life_s, a.result_s) * 1000))
  local key = P .. 'holdings:' .. part
  redis.call('HINCRBY', key, caller, bytes)
  redis.call('EXPIRE', key, a.result_s * 2)
  redis.call('HSET', P .. job, 'holding', part .. ' ' .. bytes)
end

-- Takes a `holding` back: what is purged is held no more. Where its part is gone already, nothing is left of it.
local function give_back_holding(caller, holding)
  local part, bytes = string.match(holding or '', '^(%d+) (%d+)$')
  if part and redis.call('HINCRBY', P .. 'holdings:' .. part, caller, -bytes) <= 0 then
    redis.call('HDEL', P .. 'holdings:' .. part, caller)
  end
end

local function holding_of(caller)
  local bytes = 0
  for part = part_of(now), part_of(now + a.result_s * 1000) do
    bytes = bytes + (redis.call('HGET', P .. 'holdings:' .. string.format('%.0f', part), caller) or 0)
  end
  return bytes
end
