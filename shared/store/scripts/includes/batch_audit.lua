-- What no history of a batch should leave.
-- @include findings
-- @include hooks
-- @include lines

-- Answers lines whose job is gone, or was ended by an older release that told no batch: they would wait for ever.
local function answer_lost_lines(batch)
  local key = P .. batch
  local lines = redis.call('HGETALL', key .. ':lines')
  for i = 1, #lines, 2 do
    local line = cjson.decode(lines[i + 1])
    local job = redis.call('HEXISTS', key .. ':answers', lines[i]) == 0 and line.job
    local record = job and fields_at(P .. job, JOB_TOLD) or {}
    if record.status then
      found('line_unanswered')
      answer_line(job, record, answer_told(record).result)
    elseif job and redis.call('EXISTS', P .. job) == 0 then
      found('line_without_job')
      redis.call('HSET', key .. ':answers', lines[i], cjson.encode({ status = 'failed', ended = now, error = a.failure }))
    end
  end
end

local ENDED_STAGES = { completed = 1, failed = 1, expired = 1, cancelled = 1 }

local function look_at_batch(batch)
  local stage, kept_s = unpack(redis.call('HMGET', P .. batch, 'stage', 'kept_s'))
  if ENDED_STAGES[stage] then
    if redis.call('TTL', P .. batch) == -1 then
      found('undying_batch')
      redis.call('EXPIRE', P .. batch, kept_s)
    end
  else
    answer_lost_lines(batch)
    if not redis.call('ZSCORE', P .. 'batching', batch) then
      found('batch_nowhere')
      redis.call('ZADD', P .. 'batching', now, batch)
    end
  end
end

-- Lines whose jobs are gone, or ended without telling the batch, make room for others.
local function look_at_taken(name)
  local jobs = redis.pcall('SMEMBERS', P .. name)
  if jobs.err then
    -- Older releases kept a number here, which nobody can put right.
    redis.call('DEL', P .. name)
    return
  end
  for _, job in ipairs(jobs) do
    local caller, status = unpack(redis.call('HMGET', P .. job, 'caller', 'status'))
    if status or not caller then
      found('line_outlived_job')
      redis.call('SREM', P .. name, job)
    end
  end
end
