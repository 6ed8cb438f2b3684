-- Batches: the lines of a file as ordinary jobs, in order. A batch is a plain record (records.lua), and work of the lane `batch`: a
-- process claims it for a short turn, submits further lines, writes rows of the first ones, and gives it back (batch_step).
--   <batch>           hash  what the class Batch has, <stage>_at for each stage that it came to, token counts (*_tokens),
--                           failed lines by code (*_failures) and the first one's message (*_message), kept_s (its life from its
--                           end on), body (digest of the request under an idempotency key); r, s and t of its work
--   <batch>:known     hash  number → the error (JSON) of a line without a row that became no job
--   <batch>:doubles   zset  numbers of lines whose custom_id stands in an earlier one, by themselves
--   <batch>:good      list  digests of the pieces of its output file, :bad of its error file
--   batching:<caller> set   those of a caller that have not ended
-- The batch's id holds its input and its pieces until its end. A line's job has an id of batch and number (shared/ids.py): a
-- repeated submit finds it.

local LANE = 'batch'

local function enter_stage(batch, stage, ...)
  call('HSET', P .. batch, 'stage', stage, stage .. '_at', now, ...)
end

-- Begins a batch with `fields`, a flat list, over a `file` of its caller, who may have `most` under way. Returns {missing} where
-- the caller has no such file, {purpose} where the file has another than `purpose`, if there is one, {many}, {mismatch} where the id is another
-- body's, else {created, fields}; so does a repeat. `hook`: the target of its webhook.
transition('batch_create', {}, function()
  local key, own = P .. a.id, P .. 'batching:' .. a.caller
  local purpose, digest = Records.owned('files', a.caller, a.file, 'purpose', 'digest')
  if call('EXISTS', key) == 1 then
    return call('HGET', key, 'body') == (a.body or false) and { 'created', Records.fields(a.id) } or { 'mismatch' }
  elseif not purpose then
    return { 'missing' }
  elseif a.purpose and purpose ~= a.purpose then
    return { 'purpose' }
  elseif call('SCARD', own) >= a.most then
    return { 'many' }
  end
  Records.create('batches', a.caller, a.id, a.fields, Files.LIVE_S + a.kept_s)
  call('HSET', key, 'digest', digest, 'expires_ms', now + a.window_s * 1000)
  Webhooks.attach(a.id, a.hook)
  Files.hold(digest, a.id, '+inf')
  call('SADD', own, a.id)
  local work = create(a.id, { caller = a.caller, lane = LANE, model_lane = LANE, priority = 'batch', cost = 1, created = now })
  FairQueue.enqueue_new(Lanes.of(LANE), work)
  write(work)
  return { 'created', Records.fields(a.id) }
end)

-- Puts a batch in line for its next turn, behind the others of its caller, or lets it wait for so long before.
local function await_turn(work, pause_ms)
  if pause_ms > 0 then
    FairQueue.postpone(work, 'between_turns', pause_ms)
  else
    FairQueue.enqueue_new(Lanes.of(LANE), work)
  end
  write(work)
end

-- Asks that a batch takes no more lines; what was done is kept, and one that only writes its files still, or has ended, stays
-- as it is. Returns its fields, nil where the caller has no such batch.
transition('batch_cancel', { 'allow-oom' }, function()
  local stage = Records.owned('batches', a.caller, a.id, 'stage')
  if stage == 'validating' or stage == 'in_progress' then
    enter_stage(a.id, 'cancelling')
    local work = stored(a.id)
    if work and work.state == 'between_turns' then
      FairQueue.leave(work)
      await_turn(work, 0)
    end
  end
  return stage and Records.fields(a.id) or nil
end)

-- A batch whose process works on it under the call's token; nil where it is another process's by now, or has ended: what that
-- process does is answered `lost` then, and a read with nil (records.lua).
function Batches.claimed()
  local work = stored(a.id)
  return work and work.t.token == a.token and work or nil
end

-- The rows of these jobs are written: those that are kept for the batch longer than for their caller go at their own time.
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

-- Runs `commands` in one step, takes over the hold of `pieces` from the `upload`, and lets go of `jobs`. The step was done before
-- where `guard`, a command, is not answered by `expected`. With a `pause` (ms) the process gives the batch back; deaths are counted
-- anew then: only those that follow on each other make a batch poison. Returns written | lost.
transition('batch_step', { 'allow-oom' }, function()
  local work = Batches.claimed()
  if not work then
    return 'lost'
  end
  if not a.guard or Records.replies({ a.guard })[1] == a.expected then
    Records.replies(a.commands)
    for _, piece in ipairs(a.pieces) do Files.take_over(piece, a.id, a.upload) end
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
    work.attempts, work.attempt, work.deaths, work.deaths_alone, work.worker, work.t.token = nil, nil, nil, nil, nil, nil
    await_turn(work, a.pause)
  end
  return 'written'
end)

-- Returns the webhook event of an ended batch: {type, at, caller, data (JSON)}. A job of pages ends as a job does. nil
-- until the end.
function Batches.event(id)
  local batch = fields_at(P .. id, { 'stage', 'question', 'total', 'completed', 'failed', 'metadata', 'caller',
    'kept_s', 'r' })
  local at = batch.kept_s and not batch.r and call('HGET', P .. id, batch.stage .. '_at')
  if not at then
    return nil
  elseif not batch.question then
    return { 'batch.' .. batch.stage, at, batch.caller, cjson.encode({ id = id }) }
  end
  local completed, failed = tonumber(batch.completed or 0), tonumber(batch.failed or 0)
  local status = batch.stage == 'cancelled' and 'cancelled' or batch.stage == 'completed' and completed > 0 and 'succeeded'
    or 'failed'
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
    for _, piece in ipairs(call('LRANGE', key .. list, 0, -1)) do Files.release(piece, id) end
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
-- them) are kept with this step; or it failed, and jobs of its lines go on by themselves. Returns written | lost, also
-- where rows are still to be written.
transition('batch_end', { 'allow-oom' }, function()
  local work, written, last = Batches.claimed(), unpack(call('HMGET', P .. a.id, 'written_at', 'last'))
  if not work or a.stage ~= 'failed' and written ~= last then
    return 'lost'
  end
  for _, file in ipairs(a.files) do Files.create(file) end
  finish(work, a.stage, unpack(a.fields))
  return 'written'
end)
