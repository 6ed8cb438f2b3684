-- What is known of one model: its last load, its pace, what its workers said. Of use when they come back within
-- a month.
local LANE_LIFE_S = 2592000

local function note(lane, ...)
  redis.call('HSET', P .. 'lane:' .. lane, ...)
  redis.call('EXPIRE', P .. 'lane:' .. lane, LANE_LIFE_S)
end

-- All but its epoch, which only grows.
local function forget(lane)
  local epoch = redis.call('HGET', P .. 'lane:' .. lane, 'epoch')
  redis.call('DEL', P .. 'lane:' .. lane)
  if epoch then
    note(lane, 'epoch', epoch)
  end
end

-- A new epoch of a lane: what was promised before is not held against what comes.
local function begin_epoch(lane)
  redis.call('HINCRBY', P .. 'lane:' .. lane, 'epoch', 1)
  redis.call('EXPIRE', P .. 'lane:' .. lane, LANE_LIFE_S)
end
