-- Batches: the lines of a file as jobs, in a window that moves over it. A batch is a plain record (records.lua).
--   <batch>           hash  what the class Batch has, <stage>_at for each stage that it came to, token counts (*_tokens),
--                           failed lines by code (*_failures) and the first one's message (*_message),
--                           kept_s (its life from its end on), body (digest of the request under an idempotency key),
--                           waits_for (lane of the next line, while others take batches' whole share, or ''), token
--                           while a process works on it
--   <batch>:lines     hash  number → JSON {custom_id, job, model, lane, created_ms, at, behind}: taken and not yet written down
--   <batch>:answers   hash  number → JSON {line, status, ended_ms, result, error, paths}: how those of them ended that have
--   <batch>:doubles   zset  numbers of lines whose custom_id stands in an earlier one, by themselves
--   <batch>:good      list  digests of the pieces of its output file, :bad of its error file
--   <batch>:hook      hash  a job of pages' own webhook, as a job's (notices.lua); <batch>:deliveries list of its tries
--   batching          zset  batches that have not ended, by when a process may take each up
--   batching:<caller> set   those of a caller
--   batchers          zset  callers by their last turn, counted from one on
--   taken:<lane>      hash  lines for this model whose jobs have not ended: by caller, and under '' all
-- The batch's id holds its input and its pieces until its end.

-- All batch lines together take no more than a quarter of a model's line, and a caller's no more than a quarter of what
-- the caller may have waiting there.
local SHARE = 4

function Batches.share_of(most) return math.max(1, math.floor(most / SHARE)) end

-- Why a caller's next line has to wait: nil, full or crowded (by this caller's own lines).
function Batches.share_taken(lane, caller, max_queued, max_queued_caller)
  local all, own = unpack(call('HMGET', P .. 'taken:' .. lane, '', caller))
  if tonumber(all or 0) >= Batches.share_of(max_queued) then
    return 'full'
  end
  return tonumber(own or 0) >= Batches.share_of(max_queued_caller) and 'crowded' or nil
end

local function count_taken(lane, caller, by)
  for _, whose in ipairs({ '', caller }) do
    if call('HINCRBY', P .. 'taken:' .. lane, whose, by) <= 0 then
      call('HDEL', P .. 'taken:' .. lane, whose)
    end
  end
end

-- Whether a line is no longer the next of its batch: another process took it, or the batch takes no more.
function Batches.line_passed(line)
  local stage, at, expires = unpack(call('HMGET', P .. line.batch, 'stage', 'at', 'expires_ms'))
  return stage ~= 'in_progress' or at ~= line.at or now >= tonumber(expires)
end

-- The step that admits a line's job also moves the batch on to the next line: no line is taken twice or left out.
function Batches.take_line(line, job)
  job.batch, job.line = line.batch, line.number
  call('HSET', P .. line.batch, 'at', line.behind, 'row', line.number, 'waits_for', '', 'model', job.model)
  call('HSET', P .. line.batch .. ':lines', line.number, cjson.encode({ custom_id = line.custom_id, job = job.id,
    model = job.model, lane = job.model_lane, created_ms = now, at = line.at, behind = line.behind }))
  count_taken(job.model_lane, job.caller, 1)
end

-- Keeps the end of a line's job, and its answer (JSON text or nil), with the batch until they are written down: the
-- records of job and run may go before. Call it once, in the step that ends the job.
function Batches.answer_line(job, result)
  count_taken(job.model_lane, job.caller, -1)
  local line = call('HGET', P .. job.batch .. ':lines', job.line)
  if line then
    call('HSET', P .. job.batch .. ':answers', job.line, cjson.encode({ line = line, status = job.status,
      ended_ms = job.ended, result = result, error = job.error, paths = job.paths }))
  end
end

-- What a line's answer may take: a copy of it lies here until it is written down, whoever computed it.
function Batches.room_of(line) return line and a.room or 0 end

local function enter_stage(batch, stage, ...)
  call('HSET', P .. batch, 'stage', stage, stage .. '_at', now, ...)
end

-- Begins a batch with `fields`, a flat list, over a `file` of its caller, who may have `most` under way. Returns {missing} where
-- the caller has no such file, {purpose} where the file has another than `purpose`, if there is one, {many}, {mismatch} where the id is another
-- body's, else {created, fields}; so does a repeat. `hook`: its own webhook, a flat list.
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
  if a.hook then
    call('HSET', key .. ':hook', unpack(a.hook))
  end
  Files.hold(digest, a.id, '+inf')
  call('ZADD', P .. 'batching', now, a.id)
  call('SADD', own, a.id)
  return { 'created', Records.fields(a.id) }
end)

-- Asks that a batch takes no more lines; what was done is kept, and one that only writes its files still, or has ended, stays
-- as it is. Returns its fields, nil where the caller has no such batch.
transition('batch_cancel', { 'allow-oom' }, function()
  local stage, token = Records.owned('batches', a.caller, a.id, 'stage', 'token')
  if stage == 'validating' or stage == 'in_progress' then
    enter_stage(a.id, 'cancelling')
    if not token then call('ZADD', P .. 'batching', now, a.id) end
  end
  return stage and Records.fields(a.id) or nil
end)

-- Due batches that are looked at, and callers whose last turn is remembered; a caller without one comes first.
local LOOKS, REMEMBERED = 1000, 1000

-- The longest due batch of the caller whose last turn is longest ago.
local function next_batch()
  local chosen, whose, longest_ago = nil, nil, math.huge
  for _, batch in ipairs(call('ZRANGEBYSCORE', P .. 'batching', '-inf', now, 'LIMIT', 0, LOOKS)) do
    local caller = redis.pcall('HGET', P .. batch, 'caller')
    local turn = type(caller) == 'string' and tonumber(call('ZSCORE', P .. 'batchers', caller) or 0)
    if not turn then
      call('ZREM', P .. 'batching', batch)
    elseif turn < longest_ago then
      chosen, whose, longest_ago = batch, caller, turn
    end
  end
  return chosen, whose
end

-- Gives a process a batch to work on, under a lease: callers take turns, and then the batches of each. `window`: how many lines
-- of a batch may be on their way. A repeat may take another. Returns {none, ms until one may be taken or ''}, else {taken,
-- fields, doubles among the next lines, lines on their way, how many of them have ended, room for lines, now}.
transition('batch_take', { 'allow-oom' }, function()
  local batch, caller = next_batch()
  if not batch then
    local at = call('ZRANGE', P .. 'batching', 0, 0, 'WITHSCORES')[2]
    return { 'none', at and math.max(0, at - now) or '' }
  end
  local key, batchers = P .. batch, P .. 'batchers'
  call('ZADD', P .. 'batching', now + a.lease_ms, batch)
  call('HSET', key, 'token', a.token)
  call('ZADD', batchers, (call('ZREVRANGE', batchers, 0, 0, 'WITHSCORES')[2] or 0) + 1, caller)
  call('ZREMRANGEBYRANK', batchers, 0, -REMEMBERED - 1)
  local row, own, lane = unpack(call('HMGET', key, 'row', 'max_queued', 'waits_for'))
  local on_their_way, room = call('HLEN', key .. ':lines'), 0
  if not Batches.share_taken(lane or '', caller, a.max_queued, tonumber(own) or a.max_queued_caller) then
    room = math.max(0, a.window - on_their_way)
  end
  -- A process takes no more lines in one turn than the window.
  local doubles = call('ZRANGEBYSCORE', key .. ':doubles', '(' .. row, '+inf', 'LIMIT', 0, a.window)
  return { 'taken', Records.fields(batch), doubles, on_their_way, call('HLEN', key .. ':answers'), room, now }
end)

-- What the process does that works on a batch `id` under a `token`: each function answers lost (nil where it reads, records.lua)
-- where the batch is another process's by now, or has ended.

function Batches.works_on() return call('HGET', P .. a.id, 'token') == a.token end

-- Runs `commands` in one step, and takes over the hold of `pieces` from the `upload`. The step was done before where `guard`,
-- a command, is not answered by `expected`. Another process may take the batch up in `ms`. Returns written | lost.
local function step()
  if not Batches.works_on() then
    return 'lost'
  elseif Records.replies({ a.guard })[1] ~= a.expected then
    return 'written'
  end
  Records.replies(a.commands)
  for _, piece in ipairs(a.pieces) do Files.take_over(piece, a.id, a.upload) end
  call('ZADD', P .. 'batching', now + a.ms, a.id)
  local stage, total, at, last = unpack(call('HMGET', P .. a.id, 'stage', 'total', 'at', 'last'))
  if stage == 'validating' and total then
    enter_stage(a.id, 'in_progress')
  elseif stage == 'in_progress' and at == last and call('EXISTS', P .. a.id .. ':lines') == 0 then
    enter_stage(a.id, 'finalizing')
  end
  return 'written'
end

-- A step that may need memory: what a look through the file found, and the next line, which becomes no job.
transition('batch_add', {}, step)

-- Any other step.
transition('batch_step', { 'allow-oom' }, step)

-- Ends lines, `numbers`, whose jobs' records are gone. Returns written | lost.
transition('batch_lose', { 'allow-oom' }, function()
  if not Batches.works_on() then
    return 'lost'
  end
  local caller = call('HGET', P .. a.id, 'caller')
  for _, number in ipairs(a.numbers) do
    local line = call('HGET', P .. a.id .. ':lines', number)
    if line and call('HEXISTS', P .. a.id .. ':answers', number) == 0 then
      Batches.answer_line({ batch = a.id, line = number, caller = caller, model_lane = cjson.decode(line).lane,
        status = 'failed', ended = now, error = S.lost })
    end
  end
  return 'written'
end)

-- What is told of an ended batch: the event's type and its data. A job of pages ends as a job does.
local function ending_of(key)
  local batch = fields_at(key, { 'stage', 'question', 'total', 'completed', 'failed', 'metadata' })
  if not batch.question then
    return 'batch.' .. batch.stage, cjson.encode({ id = a.id })
  end
  local completed, failed = tonumber(batch.completed or 0), tonumber(batch.failed or 0)
  local status = batch.stage == 'cancelled' and 'cancelled' or batch.stage == 'completed' and completed > 0 and 'succeeded'
    or 'failed'
  return 'job.' .. status, string.format(
    '{"id":"%s","object":"job","status":"%s","pages":{"total":%d,"succeeded":%d,"failed":%d},"metadata":%s}',
    a.id, status, tonumber(batch.total or 0), completed, failed, batch.metadata)
end

-- Ends a batch with `fields`, a flat list, as `stage` says; only the record is left. Its lines are all written down, and `files`
-- (as file_create takes them) are kept with this step; or it failed, and jobs of lines taken before go on by themselves. Of all endpoints
-- only `untold` ones hear of it, where these are named.
-- Returns written | lost, also where lines are still to be answered.
transition('batch_end', { 'allow-oom' }, function()
  local key = P .. a.id
  local batch = fields_at(key, { 'at', 'last', 'caller', 'digest', 'kept_s', 'retain_s' })
  if not Batches.works_on() or a.stage ~= 'failed' and (batch.at ~= batch.last or call('EXISTS', key .. ':lines') == 1) then
    return 'lost'
  end
  for _, file in ipairs(a.files) do Files.create(file) end
  Files.release(batch.digest, a.id)
  for _, list in ipairs({ ':good', ':bad' }) do
    for _, piece in ipairs(call('LRANGE', key .. list, 0, -1)) do Files.release(piece, a.id) end
  end
  call('DEL', key .. ':lines', key .. ':answers', key .. ':doubles', key .. ':good', key .. ':bad')
  enter_stage(a.id, a.stage, unpack(a.fields))
  call('HDEL', key, 'token')
  call('EXPIRE', key, batch.kept_s)
  call('ZREM', P .. 'batching', a.id)
  call('SREM', P .. 'batching:' .. batch.caller, a.id)
  memo['endpoints:' .. batch.caller] = a.untold
  local type, data = ending_of(key)
  Notices.announce_end(a.id, batch.caller, type, data, batch.retain_s)
  Webhooks.expire_hook(a.id)
  return 'written'
end)
