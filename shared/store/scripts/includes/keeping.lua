-- How long jobs and runs are kept after their end.

-- The retain_s of a job or run, where it has one, overrides both result_s and job_s.
local function retention(id, seconds)
  return tonumber(redis.call('HGET', P .. id, 'retain_s') or seconds)
end

-- Whether a job's webhook is still to be told something.
local function untold(job)
  return redis.call('EXISTS', P .. job .. ':began:own', P .. job .. ':ended:own') > 0
end

-- An unstored job outlives its end by its retain_s, whether its webhook was told or not, and so do its notices.
local function expire_unstored(job, record)
  local seconds = record.retain_s or a.job_s
  for _, suffix in ipairs({ '', ':attempts', ':asked', ':hook', ':deliveries', ':began', ':ended', ':began:own', ':ended:own' }) do
    redis.call('EXPIRE', P .. job .. suffix, seconds, 'NX')
  end
  if record.idem then
    redis.call('EXPIRE', P .. 'idem:' .. record.caller .. ':' .. record.idem, seconds, 'LT')
  end
end

-- An ended job (`record` is what is told of it) is kept until its webhook was told, and then for job_s.
local function expire_job(job, record, hooked)
  if record.unstored then
    expire_unstored(job, record)
  elseif not (hooked and untold(job)) then
    local seconds = record.retain_s or a.job_s
    redis.call('EXPIRE', P .. job, seconds)
    if record.attempt then
      redis.call('EXPIRE', P .. job .. ':attempts', seconds)
    end
    for _, suffix in ipairs(hooked and { ':hook', ':deliveries' } or {}) do
      redis.call('EXPIRE', P .. job .. suffix, seconds)
    end
  end
end
