-- Batches: the lines of a file as jobs, in a window that moves over it.
--   <batch>          hash  id, caller, stage (validating, in_progress, finalizing, cancelling; completed, failed,
--                          expired, cancelled), <stage>_at for each it has come to, file (the input's id), digest,
--                          size, endpoint, metadata (JSON text), max_queued and retain_s (of the key that made it),
--                          life_s (of its files), kept_s (its own, from its end on), created, expires; at (the byte
--                          behind the last line taken), row (its number), last (the byte behind the last line there
--                          is), total; completed, failed, late (of the failed: those the window closed on), *_tokens;
--                          wrote (when lines were written down last); errors (JSON text); output and error (ids of
--                          files); body (digest of the request under an idempotency key); waits_for (lane of the next
--                          line, while others take batches' whole share); missing (since when bytes are) and gone (1 =
--                          they are given up); token while a process works on it; times in Unix ms
--   <batch>:lines    hash  number → JSON {custom_id, job, model, created, at, behind}: taken and not yet written down
--   <batch>:answers  hash  number → JSON {status, ended, result, error, paths}: how those of them ended that have
--   <batch>:doubles  zset  numbers of lines whose custom_id stands in an earlier one, by themselves
--   <batch>:good     list  digests of the pieces of its output file, :bad of its error file
--   batching         zset  batches that have not ended, by when a process may take each up
--   batching:<caller> set  those of a caller
--   batchers         zset  callers by their last turn, counted from one on
--   taken:<lane>     hash  lines for this model whose jobs have not ended: by caller, and under '' all
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

local function move_on(batch, behind, row)
  call('HSET', P .. batch, 'at', behind, 'row', row)
  call('HDEL', P .. batch, 'waits_for')
end

-- Whether a line is no longer the next of its batch: another process took it, or the batch takes no more.
function Batches.line_passed(line)
  local stage, at, expires = unpack(call('HMGET', P .. line.batch, 'stage', 'at', 'expires'))
  return stage ~= 'in_progress' or at ~= line.at or now >= tonumber(expires)
end

-- The step that admits a line's job also moves the batch on to the next line: no line is taken twice or left out.
function Batches.take_line(line, id, job)
  job.batch, job.line = line.batch, line.number
  move_on(line.batch, line.behind, line.number)
  call('HSET', P .. line.batch .. ':lines', line.number, cjson.encode({ custom_id = line.custom_id, job = id,
    model = job.model, created = now, at = line.at, behind = line.behind }))
  count_taken(job.model_lane, job.caller, 1)
end

-- Keeps the end of a line's job, and its answer (JSON text or nil), with the batch until they are written down: the
-- records of job and run may go before. Call it once, in the step that ends the job.
function Batches.answer_line(_, job, result)
  local batch = P .. job.batch
  count_taken(job.model_lane, job.caller, -1)
  if call('HEXISTS', batch .. ':lines', job.line) == 1 then
    call('HSET', batch .. ':answers', job.line, cjson.encode({ status = job.status, ended = job.ended, result = result,
      error = job.error, paths = job.paths }))
  end
end

local function come_to(batch, stage)
  call('HSET', P .. batch, 'stage', stage, stage .. '_at', now)
end

-- Begins a batch over a file of its caller.
--   a       id, caller, file, endpoint, window_s, metadata (JSON text), life_s, kept_s, max_queued, retain_s and body
--           (absent = none), most (batches that a caller may have under way)
--   returns {missing} where the caller has no such file, {purpose} where the file is not for batches, {many},
--           {mismatch} where the id is another body's, else {created, fields}
--   repeat  the same id changes nothing
transition('batch_create', {}, function()
  local key, own = P .. a.id, P .. 'batching:' .. a.caller
  if call('EXISTS', key) == 1 then
    return call('HGET', key, 'body') == (a.body or false) and { 'created', call('HGETALL', key) } or { 'mismatch' }
  elseif not Files.is_owned('file', a.file, a.caller) then
    return { 'missing' }
  end
  local purpose, digest, size = unpack(call('HMGET', P .. a.file, 'purpose', 'digest', 'size'))
  if purpose ~= 'batch' then
    return { 'purpose' }
  elseif call('SCARD', own) >= a.most then
    return { 'many' }
  end
  local fields = { 'id', a.id, 'caller', a.caller, 'stage', 'validating', 'file', a.file,
    'digest', digest, 'size', size, 'endpoint', a.endpoint, 'metadata', a.metadata, 'life_s', a.life_s,
    'kept_s', a.kept_s, 'created', now, 'expires', string.format('%.0f', now + a.window_s * 1000), 'at', 0, 'row', 0,
    'completed', 0, 'failed', 0, 'late', 0, 'input_tokens', 0, 'output_tokens', 0, 'cached_tokens', 0 }
  add(fields, 'max_queued', a.max_queued)
  add(fields, 'retain_s', a.retain_s)
  add(fields, 'body', a.body)
  call('HSET', key, unpack(fields))
  Files.hold(digest, a.id, '+inf')
  call('ZADD', P .. 'batching', now, a.id)
  call('SADD', own, a.id)
  Files.enlist('batches', a.caller, a.id, a.kept_s + a.window_s)
  return { 'created', call('HGETALL', key) }
end)

-- Asks that a batch takes no more lines; what was done is kept.
--   a       id, caller
--   returns its fields, or nil where the caller has no such batch
--   repeat  harmless; one that has ended, or only writes its files still, stays as it is
transition('batch_cancel', { 'allow-oom' }, function()
  if not Files.is_owned('batch', a.id, a.caller) then return nil end
  local stage, token = unpack(call('HMGET', P .. a.id, 'stage', 'token'))
  if stage == 'validating' or stage == 'in_progress' then
    come_to(a.id, 'cancelling')
    if not token then call('ZADD', P .. 'batching', now, a.id) end
  end
  return call('HGETALL', P .. a.id)
end)

-- Due batches that are looked at; those behind them come nearer with each turn.
local LOOKS = 1000

-- Callers whose last turn is remembered; a caller without one comes first.
local REMEMBERED, FORGOTTEN_S = 1000, 3600

-- The longest due batch of the caller whose last turn is longest ago.
local function next_batch()
  local chosen, whose, longest_ago, seen = nil, nil, math.huge, {}
  for _, batch in ipairs(call('ZRANGEBYSCORE', P .. 'batching', '-inf', now, 'LIMIT', 0, LOOKS)) do
    local caller = redis.pcall('HGET', P .. batch, 'caller')
    if type(caller) ~= 'string' then
      call('ZREM', P .. 'batching', batch)
    elseif not seen[caller] then
      seen[caller] = true
      local turn = tonumber(call('ZSCORE', P .. 'batchers', caller) or 0)
      if turn < longest_ago then
        chosen, whose, longest_ago = batch, caller, turn
      end
    end
  end
  return chosen, whose
end

-- Gives a process a batch to work on, under a lease: callers take turns, and then the batches of each.
--   a       token, lease_ms, window (lines of a batch on their way at once), max_queued, max_queued_caller
--   returns {none, ms until one may be taken or ''}, else {taken, fields, doubles among the next lines, lines on their
--           way, how many of them have ended, lines for which there is room, now}
--   repeat  after a lost reply may take another: the lease of the first runs out
transition('batch_take', {}, function()
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
  call('EXPIRE', batchers, FORGOTTEN_S)
  local row, own, lane = unpack(call('HMGET', key, 'row', 'max_queued', 'waits_for'))
  local on_their_way = call('HLEN', key .. ':lines')
  local waits = lane and Batches.share_taken(lane, caller, a.max_queued, tonumber(own) or a.max_queued_caller)
  return { 'taken', call('HGETALL', key),
    -- A process takes no more lines in one turn than the window.
    call('ZRANGEBYSCORE', key .. ':doubles', '(' .. row, '+inf', 'LIMIT', 0, a.window),
    on_their_way, call('HLEN', key .. ':answers'), waits and 0 or math.max(0, a.window - on_their_way), now }
end)

-- The steps of the process that works on a batch `id` under a `token`: each answers lost (nil where it reads) where it
-- is another process's by now, or has ended; else kept or written.

local function works_on() return call('HGET', P .. a.id, 'token') == a.token end

-- Says how long the process keeps the batch, when it may be taken up again, or that its bytes are missing.
--   a       id, token, ms, leave (true = the process is done for now), patience_ms (bytes are missing, and given up
--           where they were for so long: their folder may come back)
--   returns kept | lost
transition('batch_keep', { 'allow-oom' }, function()
  local key = P .. a.id
  if not works_on() then return 'lost' end
  if a.ms then call('ZADD', P .. 'batching', now + a.ms, a.id) end
  if a.leave then
    -- A turn that came to its end found all bytes that it needed.
    call('HDEL', key, 'token', 'missing')
  elseif a.patience_ms then
    call('HSETNX', key, 'missing', now)
    if now - call('HGET', key, 'missing') >= a.patience_ms then call('HSET', key, 'gone', 1) end
  end
  return 'kept'
end)

-- Records what a look through the batch's file found: its lines may be taken once their `total` is known.
--   a       id, token, doubles (some numbers of lines whose custom_id stands in an earlier one), total (lines; absent
--           = there are more doubles), last (the byte behind the last of them), errors (JSON text, absent = none)
--   returns written | lost
--   repeat  changes nothing
transition('batch_begin', {}, function()
  local key = P .. a.id
  if not works_on() then return 'lost' end
  if call('HEXISTS', key, 'total') == 1 then
    return 'written'
  end
  for _, number in ipairs(a.doubles) do call('ZADD', key .. ':doubles', number, number) end
  if a.total then
    local fields = { 'total', a.total, 'last', string.format('%.0f', a.last) }
    add(fields, 'errors', a.errors)
    call('HSET', key, unpack(fields))
    if call('HGET', key, 'stage') == 'validating' then come_to(a.id, 'in_progress') end
  end
  return 'written'
end)

-- Reads how lines on their way have ended, or else which have not, and the pieces written.
--   a       id, token, answers (how many of them at most; absent = read the others)
--   returns nil, {numbers, lines, answers}, or {lines by number, a flat list; numbers of those that have ended;
--           digests of the output file's pieces; of the error file's}
transition('batch_read', { 'no-writes' }, function()
  local key = P .. a.id
  if not works_on() then return nil end
  local ended = call('HKEYS', key .. ':answers')
  if not a.answers then
    return { call('HGETALL', key .. ':lines'), ended, call('LRANGE', key .. ':good', 0, -1),
      call('LRANGE', key .. ':bad', 0, -1) }
  end
  local some = { unpack(ended, 1, math.min(#ended, a.answers)) }
  if #some == 0 then return { {}, {}, {} } end
  return { some, call('HMGET', key .. ':lines', unpack(some)), call('HMGET', key .. ':answers', unpack(some)) }
end)

-- Takes a line that becomes no job, and answers it with an error in the same step.
--   a       id, token, number, at and behind (the bytes where it begins and ends), custom_id (absent = it has none),
--           error (JSON text)
--   returns written | lost
--   repeat  changes nothing
transition('batch_refuse', {}, function()
  local key = P .. a.id
  if not works_on() then return 'lost' end
  if call('HGET', key, 'at') == a.at then
    call('HSET', key .. ':lines', a.number, cjson.encode({ custom_id = a.custom_id or '' }))
    call('HSET', key .. ':answers', a.number, cjson.encode({ status = 'refused', error = a.error }))
    move_on(a.id, a.behind, a.number)
  end
  return 'written'
end)

-- Counts lines whose answers are written down, and takes them from those on their way.
--   a       id, token, numbers (of lines that were taken), or undone {at, behind, row} (the next lines, which are not
--           taken any more: their bytes and the last one's number), counts {completed, failed, late, input_tokens, …},
--           good and bad (digests of the written pieces, absent = nothing), upload (the id under which they are held)
--   returns written | lost
--   repeat  changes nothing
transition('batch_wrote', { 'allow-oom' }, function()
  local key = P .. a.id
  if not works_on() then return 'lost' end
  if a.undone and call('HGET', key, 'at') ~= a.undone.at
    or not a.undone and call('HEXISTS', key .. ':lines', a.numbers[1]) == 0 then
    return 'written'
  end
  if a.undone then
    move_on(a.id, a.undone.behind, a.undone.row)
  else
    call('HDEL', key .. ':lines', unpack(a.numbers))
    call('HDEL', key .. ':answers', unpack(a.numbers))
  end
  for name, count in pairs(a.counts) do call('HINCRBY', key, name, count) end
  for _, kind in ipairs({ 'good', 'bad' }) do
    if a[kind] then
      call('RPUSH', key .. ':' .. kind, a[kind])
      Files.take_over(a[kind], a.id, a.upload)
    end
  end
  call('HSET', key, 'wrote', now)
  local stage, at, last = unpack(call('HMGET', key, 'stage', 'at', 'last'))
  if stage == 'in_progress' and at == last and call('EXISTS', key .. ':lines') == 0 then
    come_to(a.id, 'finalizing')
  end
  return 'written'
end)

-- Ends a batch; only its record is left. Its lines are all written down, and its files are kept with this step; or no
-- line, or no further one, can be taken: then the jobs of lines taken before go on by themselves.
--   a       id, token, errors (JSON text: why it failed), or output and error (files as `file_create` takes them,
--           absent = there is none), event_s, max_events
--   returns written | lost, also where lines are still to be answered
transition('batch_end', { 'allow-oom' }, function()
  local key = P .. a.id
  local stage, at, last, late, caller, digest, kept_s, retain_s = unpack(
    call('HMGET', key, 'stage', 'at', 'last', 'late', 'caller', 'digest', 'kept_s', 'retain_s'))
  if not works_on() or not a.errors and (at ~= last or call('EXISTS', key .. ':lines') == 1) then
    return 'lost'
  end
  local outcome = stage == 'cancelling' and 'cancelled' or tonumber(late) > 0 and 'expired' or 'completed'
  if a.errors then
    outcome = 'failed'
    call('HSET', key, 'errors', a.errors)
  end
  for _, kind in ipairs({ 'output', 'error' }) do
    if a[kind] then
      Files.keep_file(a[kind])
      call('HSET', key, kind, a[kind].id)
    end
  end
  come_to(a.id, outcome)
  call('HDEL', key, 'token')
  call('ZREM', P .. 'batching', a.id)
  call('SREM', P .. 'batching:' .. caller, a.id)
  Files.release(digest, a.id)
  for _, list in ipairs({ ':good', ':bad' }) do
    for _, piece in ipairs(call('LRANGE', key .. list, 0, -1)) do Files.release(piece, a.id) end
  end
  call('DEL', key .. ':lines', key .. ':answers', key .. ':doubles', key .. ':good', key .. ':bad')
  call('EXPIRE', key, kept_s)
  Files.outlive(P .. 'batches:' .. caller, kept_s)
  Notices.tell_end(a.id, caller, 'batch.' .. outcome, cjson.encode({ id = a.id }), retain_s)
  return 'written'
end)
