-- Who may read a run's answer: <run>:holders set, jobs. Those whose records ran out are forgotten when met.

-- Looks, at a hundred jobs or so each, for one that is kept. Where none finds one, the rest is left to time.
local LOOKS = 100

-- Every sixteenth new job looks at 32 others, two for each that came: so jobs whose records are gone do not outnumber
-- the rest.
local EVERY, SOME = 16, 32

-- Takes out those of some jobs whose records are gone; returns how many are left.
local function forget_gone(run, jobs)
  local left = #jobs
  for _, job in ipairs(jobs) do
    if redis.call('EXISTS', P .. job) == 0 then
      redis.call('SREM', P .. run .. ':holders', job)
      left = left - 1
    end
  end
  return left
end

local function hold_run(run, job)
  local key = P .. run .. ':holders'
  redis.call('SADD', key, job)
  if redis.call('SCARD', key) % EVERY == 0 then
    forget_gone(run, redis.call('SRANDMEMBER', key, SOME))
  end
end

-- Whether a job still holds a run, or so many did that it cannot be told.
local function held(run)
  -- Mostly the first job met is still kept.
  local one = redis.call('SRANDMEMBER', P .. run .. ':holders')
  if one and forget_gone(run, { one }) > 0 then
    return true
  end
  local cursor = '0'
  for _ = 1, LOOKS do
    local found = redis.call('SSCAN', P .. run .. ':holders', cursor, 'COUNT', 100)
    if forget_gone(run, found[2]) > 0 then
      return true
    end
    cursor = found[1]
    if cursor == '0' then
      return false
    end
  end
  return true
end
