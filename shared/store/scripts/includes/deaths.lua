-- The count of workers that died on a piece of work.

-- Counts one more worker that died on this work, alone with it or beside other claims. True where the budget is spent.
local function count_death(id)
  redis.call('HINCRBY', P .. id, 'deaths', 1)
  local alone = redis.call('HGET', P .. id, 'company') and 0 or 1
  return redis.call('HINCRBY', P .. id, 'deaths_alone', alone) >= a.max_deaths
end
