-- What is known of one model: its last load, its pace, what its workers said. Kept for a month, in case workers come
-- back.
local LANE_LIFE_S = 2592000

local function note(lane, ...)
  redis.call('HSET', P .. 'lane:' .. lane, ...)
  redis.call('EXPIRE', P .. 'lane:' .. lane, LANE_LIFE_S)
end

-- Forgets all of a lane but its epoch, which only grows.
local function forget(lane)
  local epoch = redis.call('HGET', P .. 'lane:' .. lane, 'epoch')
  redis.call('DEL', P .. 'lane:' .. lane)
  if epoch then
    note(lane, 'epoch', epoch)
  end
end

-- Begins a new epoch of a lane: estimates from before are not scored by what follows.
local function begin_epoch(lane)
  redis.call('HINCRBY', P .. 'lane:' .. lane, 'epoch', 1)
  redis.call('EXPIRE', P .. 'lane:' .. lane, LANE_LIFE_S)
end
