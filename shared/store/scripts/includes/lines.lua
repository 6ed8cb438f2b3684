-- A batch's lines on their way through the queue.
--   <batch>:lines    hash  number → JSON {custom_id, job, model, lane, created, at, behind}: taken and not yet written down
--   <batch>:answers  hash  number → JSON {status, ended, result, error, paths}: how those of them went that have ended
--   taken:<lane>     hash  lines for this model whose jobs have not ended, by caller; '' is the sum

-- Lines of batches together have no more than this part of a model's line, and each caller's no more than this part of
-- what the caller may have waiting there.
local SHARE = 4

local function count_line(lane, caller, step)
  for _, field in ipairs({ '', caller }) do
    if redis.call('HINCRBY', P .. 'taken:' .. lane, field, step) <= 0 then
      redis.call('HDEL', P .. 'taken:' .. lane, field)
    end
  end
end

local function share_of(most)
  return math.max(1, math.floor(most / SHARE))
end

-- Why another line of a caller's has to wait: nil, full or crowded (by this caller's own).
local function share_taken(lane, caller, max_queued, max_queued_caller)
  local all, own = unpack(redis.call('HMGET', P .. 'taken:' .. lane, '', caller))
  if tonumber(all or 0) >= share_of(max_queued) then
    return 'full'
  end
  if tonumber(own or 0) >= share_of(max_queued_caller) then
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

-- In the step that admits a line's job the batch moves on to the next line: none is taken twice, and none left out.
local function take_line(line, job)
  local caller, model, lane = unpack(redis.call('HMGET', P .. job, 'caller', 'model', 'model_lane'))
  move_on(line.batch, line.behind, line.number)
  redis.call('HSET', P .. line.batch .. ':lines', line.number,
    cjson.encode({ custom_id = line.custom_id, job = job, model = model, lane = lane, created = now, at = line.at,
      behind = line.behind }))
  redis.call('HSET', P .. job, 'batch', line.batch, 'line', line.number)
  count_line(lane, caller, 1)
end

-- A line's job has ended: how, and the answer, lie with the batch until they are written down, whatever becomes of the
-- job's and the run's records.
local function answer_line(record, result)
  local batch, number = P .. record.batch, record.line
  count_line(record.model_lane, record.caller, -1)
  if redis.call('HEXISTS', batch .. ':lines', number) == 1 then
    redis.call('HSET', batch .. ':answers', number, cjson.encode({ status = record.status, ended = now,
      result = record.status == 'succeeded' and result or nil, error = record.error, paths = record.paths }))
  end
end
