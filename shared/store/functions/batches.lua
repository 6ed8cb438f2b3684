-- Batches: the lines of a file as ordinary jobs, in order. A batch is a plain record (records.lua), and work of the
-- lane `batch`: a process claims it for a turn, submits further lines, writes rows of the first ones, and returns it.
--   <batch>           hash  what the class Batch has, <stage>_at for each stage that it reached, *_tokens counts,
--                           failed lines by code (*_failures) and the first one's *_message, kept_s (its life after
--                           its end), body (digest of a request with an idempotency key); r, s and t of its work
--   <batch>:known     hash  number → the error (JSON) of a line without a row that became no job
--   <batch>:doubles   zset  numbers of lines whose custom_id an earlier line has, by themselves
--   <batch>:good      list  digests of the pieces of its output file, :bad of its error file
--   batching:<caller> set   those of a caller that have not ended
-- The batch's id holds its input and its pieces until its end. A line's job has an id of batch and number
-- (shared/ids.py), so a repeated submit finds it.

local LANE = 'batch'

local function enter_stage(batch, stage, ...)
  call('HSET', P .. batch, 'stage', stage, stage .. '_at', now, ...)
end

-- Begins a batch with `fields`, a flat list, over a `file` of its caller, who may have `most` under way; `hook`: its
-- webhook. Returns {missing} if the caller has no such file, {purpose} if the file has another than the named
-- `purpose`, {many}, {mismatch} if the id is another body's, else {created, fields}; so does a repeat.
transition('batch_create', {}, function()
  local key, own = P .. a.id, P .. 'batching:' .. a.caller
  local file = Records.owned('files', a.caller, a.file, 'purpose', 'digest')
  if call('EXISTS', key) == 1 then
    return call('HGET', key, 'body') == (a.body or false) and { 'created', Records.fields(a.id) } or { 'mismatch' }
  elseif not file then
    return { 'missing' }
  elseif a.purpose and file.purpose ~= a.purpose then
    return { 'purpose' }
  elseif call('SCARD', own) >= a.most then
    return { 'many' }
  end
  Records.create('batches', a.caller, a.id, a.fields, Files.LIVE_S + a.kept_s)
  call('HSET', key, 'digest', file.digest, 'expires_ms', now + a.window_s * 1000)
  Webhooks.attach(a.id, a.hook)
  Files.hold(file.digest, a.id, '+inf')
  call('SADD', own, a.id)
  local fields = { caller = a.caller, lane = LANE, model_lane = LANE, priority = 'batch', cost = 1, created = now }
  local work = create(a.id, fields)
  FairQueue.enqueue_new(Lanes.of(LANE), work)
  write(work)
  return { 'created', Records.fields(a.id) }
end)

-- Puts a batch in line for its next turn, behind its caller's others, or lets it wait first.
local function await_turn(work, pause_ms)
  if pause_ms > 0 then
    FairQueue.postpone(work, 'between_turns', pause_ms)
  else
    FairQueue.enqueue_new(Lanes.of(LANE), work)
  end
  write(work)
end

-- Asks that a batch takes no more lines. What was done is kept; a batch that still writes its files, or has ended,
-- stays as it is. Returns its fields, nil if the caller has no such batch.
transition('batch_cancel', { 'allow-oom' }, function()
  local batch = Records.owned('batches', a.caller, a.id, 'stage')
  if batch and (batch.stage == 'validating' or batch.stage == 'in_progress') then
    enter_stage(a.id, 'cancelling')
    local work = stored(a.id)
    if work and work.state == 'between_turns' then
      FairQueue.leave(work)
      await_turn(work, 0)
    end
  end
  return batch and Records.fields(a.id) or nil
end)

-- The batch that a process works on under the call's token; nil if it is another process's by now, or has ended.
function Batches.claimed()
  local work = stored(a.id)
  return work and work.t.token == a.token and work or nil
end

-- The rows of these jobs are written, so those that were kept only for the batch go at their own time.
local function let_go(jobs)
  for _, id in ipairs(jobs) do
    local job = stored(id)
    if job and job.till and not job.followed then
      call('PEXPIRE', P .. id, math.max(job.till - now, (job.kept or 0) - now, 1))
      if job.apart then
        call('PEXPIRE', P .. id .. ':answer', math.max(job.kept - now, 1))
      end
    end
  end
end

-- Runs `commands` in one step, takes over the hold of `pieces` from the `upload`, and lets go of `jobs`; nothing if the
-- reply to `guard`, a command, is not `expected`: then the step was done before. With a `pause` (ms) the process gives
-- the batch back, and its deaths count anew: only successive ones are poison. Returns written | lost.
transition('batch_step', { 'allow-oom' }, function()
  local work = Batches.claimed()
  if not work then
    return 'lost'
  end
  if not a.guard or Records.replies({ a.guard })[1] == a.expected then
    Records.replies(a.commands)
    Files.take_over(table.concat(a.pieces, ' '), a.id, a.upload)
    let_go(a.jobs or {})
    local batch = fields_at(P .. a.id, { 'stage', 'total', 'written_at', 'last' })
    if batch.stage == 'validating' and batch.total then
      enter_stage(a.id, 'in_progress')
    elseif batch.stage == 'in_progress' and batch.written_at == batch.last then
      enter_stage(a.id, 'finalizing')
    end
  end
  if a.pause then
    FairQueue.leave(work)
    work.attempts, work.attempt, work.deaths, work.deaths_alone, work.worker = nil, nil, nil, nil, nil
    work.t.token = nil
    await_turn(work, a.pause)
  end
  return 'written'
end)

-- The webhook event of an ended batch or job of pages: {type, at, caller, data (JSON)}; nil until its end.
function Batches.event(id)
  local names = { 'stage', 'question', 'total', 'completed', 'failed', 'metadata', 'caller', 'kept_s', 'r' }
  local batch = fields_at(P .. id, names)
  local at = batch.kept_s and not batch.r and call('HGET', P .. id, batch.stage .. '_at')
  if not at then
    return nil
  elseif not batch.question then
    return { 'batch.' .. batch.stage, at, batch.caller, cjson.encode({ id = id }) }
  end
  local completed, failed = tonumber(batch.completed or 0), tonumber(batch.failed or 0)
  local ended = batch.stage == 'completed' and completed > 0 and 'succeeded' or 'failed'
  local status = batch.stage == 'cancelled' and 'cancelled' or ended
  local data = string.format(
    '{"id":"%s","object":"job","status":"%s","pages":{"total":%d,"succeeded":%d,"failed":%d},"metadata":%s}',
    id, status, tonumber(batch.total or 0), completed, failed, batch.metadata)
  return { 'job.' .. status, at, batch.caller, data }
end

-- Ends a batch with fields as names and values; only its record is left.
local function finish(work, stage, ...)
  local id, key = work.id, P .. work.id
  local batch = fields_at(key, { 'caller', 'digest', 'kept_s' })
  FairQueue.leave(work)
  Files.release(batch.digest, id)
  for _, list in ipairs({ ':good', ':bad' }) do
    Files.release(table.concat(call('LRANGE', key .. list, 0, -1), ' '), id)
  end
  call('DEL', key .. ':known', key .. ':doubles', key .. ':good', key .. ':bad')
  call('HDEL', key, 'r', 's', 't')
  enter_stage(id, stage, ...)
  call('EXPIRE', key, batch.kept_s)
  call('SREM', P .. 'batching:' .. batch.caller, id)
  Webhooks.announce(id, 'ended', Batches.event(id)[1])
  Webhooks.expire(id, batch.kept_s)
end

-- Ends a batch whose turns kill the processes that take them.
function Batches.fail(work, failure)
  local error = cjson.decode(failure)
  finish(work, 'failed', 'errors', cjson.encode({ { code = error.code, message = error.message } }))
end

-- Ends a batch with `fields`, a flat list, as `stage` says. Its rows are all written, and `files` (as file_create takes
-- them) are kept with this step; or it failed, and the jobs of its lines end by themselves. Returns written | lost,
-- which also says that rows are still to be written.
transition('batch_end', { 'allow-oom' }, function()
  local work, written, last = Batches.claimed(), unpack(call('HMGET', P .. a.id, 'written_at', 'last'))
  if not work or a.stage ~= 'failed' and written ~= last then
    return 'lost'
  end
  for _, file in ipairs(a.files) do Files.create(file) end
  finish(work, a.stage, unpack(a.fields))
  return 'written'
end)
