-- A batch's lines on their way through the queue.
--   <batch>:lines    hash  number → JSON {custom_id, job, model, created, at, behind}: taken and not yet written down
--   <batch>:answers  hash  number → JSON {status, ended, result, error, paths}: how those lines ended that have
--   taken:<lane>:<caller>  set  the jobs of lines for this model that have not ended; under '' those of all callers

-- All batch lines together take no more than a quarter of a model's line, and a caller's no more than a quarter of what
-- the caller may have waiting there.
local SHARE = 4

-- Names jobs, does not count them: so the audit can take out those that an older release ended.
local function taken_key(lane, caller)
  return P .. 'taken:' .. lane .. ':' .. caller
end

local function share_of(most)
  return math.max(1, math.floor(most / SHARE))
end

-- Why a caller's next line has to wait: nil, full or crowded (by this caller's own lines).
local function share_taken(lane, caller, max_queued, max_queued_caller)
  if redis.call('SCARD', taken_key(lane, '')) >= share_of(max_queued) then
    return 'full'
  end
  if redis.call('SCARD', taken_key(lane, caller)) >= share_of(max_queued_caller) then
    return 'crowded'
  end
end

local function move_on(batch, behind, row)
  redis.call('HSET', P .. batch, 'at', behind, 'row', row)
  redis.call('HDEL', P .. batch, 'waits_for')
end

-- Whether a line is no longer the next of its batch: another process took it, or the batch takes no more.
local function line_passed(line)
  local stage, at, expires = unpack(redis.call('HMGET', P .. line.batch, 'stage', 'at', 'expires'))
  return stage ~= 'in_progress' or at ~= line.at or now >= tonumber(expires)
end

-- The step that admits a line's job also moves the batch on to the next line: no line is taken twice or left out.
local function take_line(line, job)
  local caller, model, lane = unpack(redis.call('HMGET', P .. job, 'caller', 'model', 'model_lane'))
  move_on(line.batch, line.behind, line.number)
  redis.call('HSET', P .. line.batch .. ':lines', line.number,
    cjson.encode({ custom_id = line.custom_id, job = job, model = model, created = now, at = line.at, behind = line.behind }))
  redis.call('HSET', P .. job, 'batch', line.batch, 'line', line.number)
  redis.call('SADD', taken_key(lane, ''), job)
  redis.call('SADD', taken_key(lane, caller), job)
end

-- Keeps the end of a line's job, and its answer, with the batch until they are written down, whatever becomes of the
-- records of job and run.
local function answer_line(job, record, result)
  local batch, number = P .. record.batch, record.line
  redis.call('SREM', taken_key(record.model_lane, ''), job)
  redis.call('SREM', taken_key(record.model_lane, record.caller), job)
  if redis.call('HEXISTS', batch .. ':lines', number) == 1 then
    redis.call('HSET', batch .. ':answers', number, cjson.encode({ status = record.status, ended = now,
      result = record.status == 'succeeded' and result or nil, error = record.error, paths = record.paths }))
  end
end
