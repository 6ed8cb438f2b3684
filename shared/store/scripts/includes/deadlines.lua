-- deadlines: zset of the jobs that have not ended, by the Unix ms at which each is looked at next.

-- Which limit of a job has passed (start_by, finish_by), or nil and when to look again. A job that has begun, or names
-- no start_by, may wait in line for wait_ms from when its run was queued last, or from when it joined the run.
local function passed(job)
  local start_by, finish_by, run, joined = unpack(redis.call('HMGET', P .. job, 'start_by', 'finish_by', 'run', 'queued_at'))
  local state, started, queued_at = unpack(redis.call('HMGET', P .. (run or job), 'state', 'started', 'queued_at'))
  local to_finish = tonumber(finish_by or math.huge)
  local to_start = now + a.wait_ms
  if start_by and not (run and started) then
    to_start = tonumber(start_by)
  elseif state == 'queued' then
    to_start = math.max(queued_at, joined or 0) + a.wait_ms
  end
  if now >= to_finish then
    return 'finish_by'
  end
  return now >= to_start and 'start_by' or nil, math.min(to_start, to_finish)
end

local function look_later(job)
  local _, at = passed(job)
  redis.call('ZADD', P .. 'deadlines', string.format('%.0f', at or now), job)
end
