-- How long jobs and runs are kept after their end.

-- Its own retain_s, where it has one, comes before both result_s and job_s.
local function retention(id, seconds)
  return tonumber(redis.call('HGET', P .. id, 'retain_s') or seconds)
end

-- Whether a job's webhook is still to be told something.
local function untold(job)
  return redis.call('EXISTS', P .. job .. ':began:own', P .. job .. ':ended:own') > 0
end

-- An unstored job outlives its end by its retain_s, whoever was told, and what tells of it no longer.
local function expire_unstored(job, caller, idem)
  local seconds = retention(job, a.job_s)
  for _, suffix in ipairs({ '', ':attempts', ':asked', ':hook', ':deliveries', ':began', ':ended', ':began:own', ':ended:own' }) do
    redis.call('EXPIRE', P .. job .. suffix, seconds, 'NX')
  end
  if idem then
    redis.call('EXPIRE', P .. 'idem:' .. caller .. ':' .. idem, seconds, 'LT')
  end
end

-- A job that has ended is kept for job_s, and before that until its webhook was told.
local function expire_job(job)
  local unstored, caller, idem = unpack(redis.call('HMGET', P .. job, 'unstored', 'caller', 'idem'))
  if unstored then
    expire_unstored(job, caller, idem)
  elseif not untold(job) then
    for _, suffix in ipairs({ '', ':attempts', ':hook', ':deliveries' }) do
      redis.call('EXPIRE', P .. job .. suffix, retention(job, a.job_s))
    end
  end
end
