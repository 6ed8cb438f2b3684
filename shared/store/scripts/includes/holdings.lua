-- What callers hold of the record store, about: bytes of what they had taken in, for as long as it is kept after its end.
--   holdings:<part>  hash  bytes by caller of what goes in this part of result_s; parts are counted from 1970 on
-- Deleting takes nothing from it. The script's `a` needs result_s.

-- What has gone is counted for one part more at most.
local PARTS = 24
-- Of a short job without its texts (docs/fleet.md).
local JOB_BYTES = 7400

local function part_of(ms)
  return math.floor(ms / math.ceil(a.result_s * 1000 / PARTS))
end

-- What a key keeps for longer than result_s is counted for that.
local function count_holding(caller, bytes, life_s)
  local part = part_of(now + math.min(life_s, a.result_s) * 1000)
  local key = P .. 'holdings:' .. string.format('%.0f', part)
  redis.call('HINCRBY', key, caller, JOB_BYTES + bytes)
  redis.call('EXPIRE', key, a.result_s * 2)
end

local function holding_of(caller)
  local bytes = 0
  for part = part_of(now), part_of(now + a.result_s * 1000) do
    bytes = bytes + (redis.call('HGET', P .. 'holdings:' .. string.format('%.0f', part), caller) or 0)
  end
  return bytes
end
