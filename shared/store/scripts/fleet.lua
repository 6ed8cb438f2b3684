-- Reads what waits and who works, model by model.
--   a       lanes {lane, …}, worker_ttl_s
--   returns for each lane {lane_view, waiting by class {interactive, normal, batch}, arrival of the oldest that waits
--           (Unix ms, 0 = nothing waits), workers {{id, state, record}, …}, drained (1 = the lane takes nothing new,
--           and nothing is left)}
-- @include base
-- @include queue
-- @include viewing

-- queue:<lane> has each class in a range of its own (`rank` in queue.lua).
local function waiting(lane)
  local counts, oldest = {}, 0
  for i, class in ipairs(CLASSES) do
    local low, high = string.format('%.0f', rank(class) * 1e14), string.format('(%.0f', (rank(class) + 1) * 1e14)
    counts[i] = redis.call('ZCOUNT', P .. 'queue:' .. lane, low, high)
    local first = redis.call('ZRANGEBYSCORE', P .. 'queue:' .. lane, low, high, 'LIMIT', 0, 1)[1]
    local since = first and tonumber(redis.call('HGET', P .. first, 'created') or now)
    if since and (oldest == 0 or since < oldest) then
      oldest = since
    end
  end
  return counts, oldest
end

local function workers(lane)
  local found = {}
  for _, state in ipairs({ 'ready', 'loading' }) do
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. state .. ':' .. lane, alive_since(), '+inf')) do
      table.insert(found, { id, state, redis.call('HGETALL', P .. 'worker:' .. id) })
    end
  end
  return found
end

-- Work in no model's line: scheduled, between two attempts, or waiting for its inputs. Beyond this many entries a lane
-- is taken to have such work.
local LOOKED_AT = 1000

local function is_elsewhere(lane)
  local fetched = redis.call('SMEMBERS', P .. 'running:intake')
  for _, ids in ipairs({ fetched, redis.call('ZRANGE', P .. 'queue:intake', 0, LOOKED_AT),
    redis.call('ZRANGE', P .. 'schedule', 0, LOOKED_AT) }) do
    for _, id in ipairs(ids) do
      local own, model_lane = unpack(redis.call('HMGET', P .. id, 'lane', 'model_lane'))
      if (model_lane or own) == lane then
        return true
      end
    end
    if #ids > LOOKED_AT then
      return true
    end
  end
  return false
end

local function is_drained(lane)
  return redis.call('SISMEMBER', P .. 'draining', lane) == 1 and redis.call('EXISTS', P .. 'queue:' .. lane) == 0
    and redis.call('EXISTS', P .. 'running:' .. lane) == 0 and not is_elsewhere(lane)
end

local told = {}
for _, lane in ipairs(a.lanes) do
  local counts, oldest = waiting(lane)
  table.insert(told, { lane_view(lane), counts, oldest, workers(lane), is_drained(lane) and 1 or 0 })
end
return told
