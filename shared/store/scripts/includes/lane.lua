-- What is known of one model: its last load, its pace, what its workers said. Of use when they come back within
-- a month.
local LANE_LIFE_S = 2592000

local function note(lane, ...)
  redis.call('HSET', P .. 'lane:' .. lane, ...)
  redis.call('EXPIRE', P .. 'lane:' .. lane, LANE_LIFE_S)
end

-- A new epoch of a lane: what was promised before is not held against what comes.
local function begin_epoch(lane)
  redis.call('HINCRBY', P .. 'lane:' .. lane, 'epoch', 1)
  redis.call('EXPIRE', P .. 'lane:' .. lane, LANE_LIFE_S)
end
