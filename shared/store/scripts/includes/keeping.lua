-- How long a job is kept after its end.

-- Whether a job's webhook is still to be told something.
local function untold(job)
  return redis.call('EXISTS', P .. job .. ':began', P .. job .. ':ended') > 0
end

-- A job that has ended is kept for job_s, and before that until its webhook was told.
local function expire_job(job)
  if not untold(job) then
    for _, suffix in ipairs({ '', ':attempts', ':hook', ':deliveries' }) do
      redis.call('EXPIRE', P .. job .. suffix, a.job_s)
    end
  end
end
