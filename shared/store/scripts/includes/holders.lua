-- Who may read a run's answer: <run>:holders set, jobs. It forgets those whose records ran out where it meets them.

-- One look is at a hundred jobs or so. Where none of as many looks finds one, the rest is left to time.
local LOOKS = 100

-- Those who come look at the others at every sixteenth: at two for each of them, so that those whose records are gone do
-- not become more than the others.
local EVERY, SOME = 16, 32

-- Takes some jobs out whose records are gone; the rest is how many there are.
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

-- Whether a job holds a run still, or so many did that nobody can say.
local function held(run)
  -- Mostly the first that is met lives.
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
