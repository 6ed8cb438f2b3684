-- A batch's lines on their way through the queue.
--   <batch>:lines    hash  number → JSON {custom_id, job, model, created, at, behind}: taken and not yet written down
--   <batch>:answers  hash  number → JSON {status, ended, result, error, paths}: how those of them went that have ended
--   taken            hash  lines whose jobs have not ended, by caller; '' is the sum

local function count_line(caller, step)
  for _, field in ipairs({ '', caller }) do
    if redis.call('HINCRBY', P .. 'taken', field, step) <= 0 then
      redis.call('HDEL', P .. 'taken', field)
    end
  end
end

-- Whether a line is no longer the next of its batch: another process took it, or the batch takes no more.
local function line_passed(line)
  local stage, at, expires = unpack(redis.call('HMGET', P .. line.batch, 'stage', 'at', 'expires'))
  return stage ~= 'in_progress' or at ~= line.at or now >= tonumber(expires)
end

-- In the step that admits a line's job the batch moves on to the next line: none is taken twice, and none left out.
local function take_line(line, job)
  local key, caller, model = P .. line.batch, unpack(redis.call('HMGET', P .. job, 'caller', 'model'))
  redis.call('HSET', key, 'at', line.behind, 'row', line.number)
  redis.call('HSET', key .. ':lines', line.number,
    cjson.encode({ custom_id = line.custom_id, job = job, model = model, created = now, at = line.at,
      behind = line.behind }))
  redis.call('HSET', P .. job, 'batch', line.batch, 'line', line.number)
  count_line(caller, 1)
end

-- A line's job has ended: how, and the answer, lie with the batch until they are written down, whatever becomes of the
-- job's and the run's records.
local function answer_line(record, result)
  local batch, number = P .. record.batch, record.line
  count_line(record.caller, -1)
  if redis.call('HEXISTS', batch .. ':lines', number) == 1 then
    redis.call('HSET', batch .. ':answers', number, cjson.encode({ status = record.status, ended = now,
      result = record.status == 'succeeded' and result or nil, error = record.error, paths = record.paths }))
  end
end
