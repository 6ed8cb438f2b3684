-- The count of workers that died on a piece of work.

-- One more worker died on this: alone with it, or on others of its claims as well. True where that was once too often.
local function count_death(id)
  redis.call('HINCRBY', P .. id, 'deaths', 1)
  local alone = redis.call('HGET', P .. id, 'company') and 0 or 1
  return redis.call('HINCRBY', P .. id, 'deaths_alone', alone) >= a.max_deaths
end
