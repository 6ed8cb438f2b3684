-- What is known of one model: its last load, its pace, what its workers said. Of use when they come back within
-- a month.
local LANE_LIFE_S = 2592000

local function note(lane, ...)
  redis.call('HSET', P .. 'lane:' .. lane, ...)
  redis.call('EXPIRE', P .. 'lane:' .. lane, LANE_LIFE_S)
end
