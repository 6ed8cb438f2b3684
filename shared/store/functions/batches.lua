-- Batches: the lines of a file as jobs, in a window that moves over it.
--   <batch>          hash  id, caller, stage (validating, in_progress, finalizing, cancelling; completed, failed, expired,
--                          cancelled), file (the input's id), digest, size, endpoint, window_s, metadata (JSON text),
--                          max_queued and retain_s (of the key that made it), life_s (of its files) and kept_s (its own,
--                          from its end on), created, expires; at (the byte behind the last line taken) and row (its
--                          number), last (the byte behind the last line there is), total; completed, failed, late (of the
--                          failed: those the window closed on), input_tokens, output_tokens, cached_tokens; wrote (when
--                          lines were written down last); errors (JSON text); output and error (ids of files);
--                          body (digest of the request under an idempotency key);
--                          waits_for (lane of the next line, while other lines take batches' whole share of it);
--                          missing (since when bytes are missing) and gone (1 = they are given up);
--                          <stage>_at for each it has come to; token while a process works on it; times in Unix ms
--   <batch>:doubles  zset  numbers of lines whose custom_id stands in an earlier one, by themselves
--   <batch>:good     list  digests of the pieces of its output file, :bad of its error file
--   batching         zset  batches that have not ended, by when a process may take each up
--   batching:<caller> zset those of a caller, by creation
--   batchers         zset  callers by their last turn, counted from one on
--   batches:<caller> zset  by creation
-- The batch's id holds its input and its pieces until its end.

-- Whether a process works on a batch under this token.
local function works_on(batch, token)
  return call('HGET', P .. batch, 'token') == token
end

local function stage_of(batch)
  return call('HGET', P .. batch, 'stage')
end

local function come_to(batch, stage)
  call('HSET', P .. batch, 'stage', stage, stage .. '_at', now)
end

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

function Batches.share_of(most)
  return math.max(1, math.floor(most / SHARE))
end

-- Why a caller's next line has to wait: nil, full or crowded (by this caller's own lines).
function Batches.share_taken(lane, caller, max_queued, max_queued_caller)
  if call('SCARD', taken_key(lane, '')) >= Batches.share_of(max_queued) then
    return 'full'
  end
  if call('SCARD', taken_key(lane, caller)) >= Batches.share_of(max_queued_caller) then
    return 'crowded'
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
function Batches.take_line(line, job)
  local caller, model, lane = fields(job, 'caller', 'model', 'model_lane')
  move_on(line.batch, line.behind, line.number)
  call('HSET', P .. line.batch .. ':lines', line.number,
    cjson.encode({ custom_id = line.custom_id, job = job, model = model, created = now, at = line.at, behind = line.behind }))
  put(job, 'batch', line.batch, 'line', line.number)
  call('SADD', taken_key(lane, ''), job)
  call('SADD', taken_key(lane, caller), job)
end

-- Keeps the end of a line's job, and its answer, with the batch until they are written down, whatever becomes of the
-- records of job and run.
function Batches.answer_line(job, record)
  local batch, number = P .. record.batch, record.line
  call('SREM', taken_key(record.model_lane, ''), job)
  call('SREM', taken_key(record.model_lane, record.caller), job)
  if call('HEXISTS', batch .. ':lines', number) == 1 then
    call('HSET', batch .. ':answers', number, cjson.encode({ status = record.status, ended = record.ended,
      result = record.status == 'succeeded' and get(record.run, 'result') or nil, error = record.error, paths = record.paths }))
  end
end

-- The end of a batch.

-- Ends a batch; only its record is left.
local function end_batch(batch, stage)
  local key = P .. batch
  local caller, digest, kept_s, retain_s = unpack(call('HMGET', key, 'caller', 'digest', 'kept_s', 'retain_s'))
  come_to(batch, stage)
  call('ZREM', P .. 'batching', batch)
  call('ZREM', P .. 'batching:' .. caller, batch)
  call('HDEL', key, 'token')
  Files.release(digest, batch)
  for _, list in ipairs({ ':good', ':bad' }) do
    for _, piece in ipairs(call('LRANGE', key .. list, 0, -1)) do
      Files.release(piece, batch)
    end
  end
  call('DEL', key .. ':lines', key .. ':answers', key .. ':doubles', key .. ':good', key .. ':bad')
  call('EXPIRE', key, kept_s)
  call('EXPIRE', P .. 'batches:' .. caller, math.max(kept_s, call('TTL', P .. 'batches:' .. caller)))
  Notices.tell_end(batch, caller, 'batch.' .. stage, cjson.encode({ id = batch }), retain_s)
end

-- Begins a batch over a file of its caller.
--   a      id, caller, file, endpoint, window_s, metadata (JSON text), max_queued and retain_s (of the API key used,
--          absent = the key has none), life_s, kept_s, most (batches that a caller may have under way), body (digest of
--          the request, absent = the id is no idempotency key's)
--   writes <batch> hash, batches:<caller>, batching and batching:<caller> zsets, blob:<digest> zset
--   returns {missing} where the caller has no such file, {purpose} where the file is not for batches, {many},
--           {mismatch} where the id is another body's, else {created, fields}
--   repeat the same id changes nothing
transition('batch_create', {}, function()
  local key, list = P .. a.id, P .. 'batches:' .. a.caller
  if call('EXISTS', key) == 0 then
    local known = string.find(a.file, '^file%-%x+$')
    local caller, purpose, digest, size = unpack(
      known and call('HMGET', P .. a.file, 'caller', 'purpose', 'digest', 'size') or {})
    if caller ~= a.caller then
      return { 'missing' }
    end
    if purpose ~= 'batch' then
      return { 'purpose' }
    end
    if call('ZCARD', P .. 'batching:' .. a.caller) >= a.most then
      return { 'many' }
    end
    call('HSET', key, 'v', VERSION, 'id', a.id, 'caller', a.caller, 'stage', 'validating', 'file', a.file,
      'digest', digest, 'size', size, 'endpoint', a.endpoint, 'window_s', a.window_s, 'metadata', a.metadata,
      'life_s', a.life_s, 'kept_s', a.kept_s, 'created', now,
      'expires', string.format('%.0f', now + a.window_s * 1000), 'at', 0, 'row', 0,
      'completed', 0, 'failed', 0, 'late', 0, 'input_tokens', 0, 'output_tokens', 0, 'cached_tokens', 0)
    for _, name in ipairs({ 'max_queued', 'retain_s', 'body' }) do
      if a[name] then
        call('HSET', key, name, a[name])
      end
    end
    Files.hold(digest, a.id, '+inf')
    call('ZADD', P .. 'batching', now, a.id)
    call('ZADD', P .. 'batching:' .. a.caller, now, a.id)
    call('ZADD', list, now, a.id)
    call('EXPIRE', list, math.max(a.kept_s + a.window_s, call('TTL', list)))
    -- Each new batch looks at two old ones, so that a list does not grow by batches that are gone.
    for _, oldest in ipairs(call('ZRANGE', list, 0, 1)) do
      if call('EXISTS', P .. oldest) == 0 then
        call('ZREM', list, oldest)
      end
    end
  elseif call('HGET', key, 'body') ~= (a.body or false) then
    return { 'mismatch' }
  end
  return { 'created', call('HGETALL', key) }
end)

-- Asks that a batch takes no more lines; what was done is kept.
--   a      id, caller
--   writes <batch> hash, batching zset
--   returns its fields, or nil where the caller has no such batch
--   repeat harmless; one that has ended, or only writes its files still, stays as it is
transition('batch_cancel', { 'allow-oom' }, function()
  if not string.find(a.id, '^batch_%x+$') or call('HGET', P .. a.id, 'caller') ~= a.caller then
    return nil
  end
  local stage = stage_of(a.id)
  if stage == 'validating' or stage == 'in_progress' then
    come_to(a.id, 'cancelling')
    if call('HEXISTS', P .. a.id, 'token') == 0 then
      call('ZADD', P .. 'batching', now, a.id)
    end
  end
  return call('HGETALL', P .. a.id)
end)

-- Due batches that are looked at; those behind them come nearer with each turn.
local LOOKS = 1000

-- Callers whose last turn is remembered; a caller without one comes first.
local REMEMBERED, FORGOTTEN_S = 1000, 3600

local function count_turn(caller)
  local last = call('ZREVRANGE', P .. 'batchers', 0, 0, 'WITHSCORES')[2] or 0
  call('ZADD', P .. 'batchers', last + 1, caller)
  call('ZREMRANGEBYRANK', P .. 'batchers', 0, -REMEMBERED - 1)
  call('EXPIRE', P .. 'batchers', FORGOTTEN_S)
end

-- Gives a process a batch to work on, under a lease: callers take turns, and then the batches of each.
--   a      token, lease_ms, window (lines of a batch on their way at once), max_queued, max_queued_caller
--   writes batching and batchers zsets, <batch> hash
--   returns {none, ms until one may be taken or ''}, else {taken, fields, doubles among the next lines, lines on their
--           way, how many of them have ended, pieces of its files, lines for which there is room, now}
--   repeat after a lost reply may take another: the lease of the first runs out
transition('batch_take', {}, function()
  local function room_of(batch, on_their_way)
    local caller, own, lane = unpack(call('HMGET', P .. batch, 'caller', 'max_queued', 'waits_for'))
    if lane and Batches.share_taken(lane, caller, a.max_queued, own or a.max_queued_caller) then
      return 0
    end
    return math.max(0, a.window - on_their_way)
  end

  -- The doubles among the next lines: a process takes no more lines in one turn than the window.
  local function doubles_of(batch)
    local row = call('HGET', P .. batch, 'row')
    return call('ZRANGEBYSCORE', P .. batch .. ':doubles', '(' .. row, '+inf', 'LIMIT', 0, a.window)
  end

  local function pieces_of(batch)
    return call('LLEN', P .. batch .. ':good') + call('LLEN', P .. batch .. ':bad')
  end

  -- The longest due batch of the caller whose last turn is longest ago.
  local function next_batch()
    local chosen, longest_ago, seen = nil, math.huge, {}
    for _, batch in ipairs(call('ZRANGEBYSCORE', P .. 'batching', '-inf', now, 'LIMIT', 0, LOOKS)) do
      local caller = redis.pcall('HGET', P .. batch, 'caller')
      if type(caller) ~= 'string' then
        call('ZREM', P .. 'batching', batch)
      elseif not seen[caller] then
        if is_newer(batch) then
          -- What a newer release has written is left to a process that can read it.
          call('ZADD', P .. 'batching', now + a.lease_ms, batch)
        else
          seen[caller] = true
          local turn = tonumber(call('ZSCORE', P .. 'batchers', caller) or 0)
          if turn < longest_ago then
            chosen, longest_ago = batch, turn
          end
        end
      end
    end
    return chosen
  end

  local batch = next_batch()
  if batch then
    call('ZADD', P .. 'batching', now + a.lease_ms, batch)
    call('HSET', P .. batch, 'token', a.token)
    count_turn(call('HGET', P .. batch, 'caller'))
    local on_their_way = call('HLEN', P .. batch .. ':lines')
    return { 'taken', call('HGETALL', P .. batch), doubles_of(batch), on_their_way,
      call('HLEN', P .. batch .. ':answers'), pieces_of(batch), room_of(batch, on_their_way), now }
  end
  local next = call('ZRANGE', P .. 'batching', 0, 0, 'WITHSCORES')[2]
  return { 'none', next and math.max(0, next - now) or '' }
end)

-- Says how long the process that works on a batch keeps it, or when it may be taken up again.
--   a      id, token, ms, leave (true = the process is done for now)
--   writes batching zset, <batch> hash
--   returns kept | lost (it is another process's by now, or has ended)
--   repeat harmless
transition('batch_keep', { 'allow-oom' }, function()
  if not works_on(a.id, a.token) then
    return 'lost'
  end
  call('ZADD', P .. 'batching', now + a.ms, a.id)
  if a.leave then
    -- A turn that came to its end found all bytes that it needed.
    call('HDEL', P .. a.id, 'token', 'missing')
  end
  return 'kept'
end)

-- Records that a batch's file was looked through: its lines may be taken.
--   a      id, token, total (lines), last (the byte behind the last of them), doubles (numbers of lines whose custom_id
--          stands in an earlier one), errors (JSON text, absent = none)
--   writes <batch> hash, <batch>:doubles zset
--   returns written | lost (it is another process's by now)
--   repeat changes nothing
transition('batch_begin', {}, function()
  local key = P .. a.id
  if not works_on(a.id, a.token) then
    return 'lost'
  end
  if call('HEXISTS', key, 'total') == 1 then
    return 'written'
  end
  call('HSET', key, 'total', a.total, 'last', string.format('%.0f', a.last))
  if a.errors then
    call('HSET', key, 'errors', a.errors)
  end
  for _, number in ipairs(a.doubles) do
    call('ZADD', key .. ':doubles', number, number)
  end
  if stage_of(a.id) == 'validating' then
    come_to(a.id, 'in_progress')
  end
  return 'written'
end)

-- Reads lines of a batch that are on their way.
--   a       id, token, answered (true = those that have ended, else those that have not), limit
--   returns nil where it is another process's by now, else {{number, line, answer or ''}, …}
transition('batch_lines', { 'no-writes' }, function()
  local key = P .. a.id
  if not works_on(a.id, a.token) then
    return nil
  end
  local found = {}
  for _, number in ipairs(call('HKEYS', key .. (a.answered and ':answers' or ':lines'))) do
    local line, answer = call('HGET', key .. ':lines', number), call('HGET', key .. ':answers', number)
    if line and (answer and true or false) == (a.answered or false) then
      table.insert(found, { number, line, answer or '' })
    end
    if #found == a.limit then
      break
    end
  end
  return found
end)

-- Records that bytes of a batch's file, or of its written output, are missing: the blob folder may come back.
--   a      id, token, patience_ms (after which missing bytes are given up)
--   writes <batch> hash
--   returns written | lost (it is another process's by now, or has ended)
--   repeat harmless
transition('batch_miss', {}, function()
  local key = P .. a.id
  if not works_on(a.id, a.token) then
    return 'lost'
  end
  call('HSETNX', key, 'missing', now)
  if now - call('HGET', key, 'missing') >= a.patience_ms then
    call('HSET', key, 'gone', 1)
  end
  return 'written'
end)

-- Takes a line that becomes no job, and answers it with an error in the same step.
--   a      id, token, number, at and behind (the bytes where it begins and ends), custom_id (absent = it has none),
--          error (JSON text)
--   writes <batch> hash, <batch>:lines and <batch>:answers hashes
--   returns written | lost (it is another process's by now)
--   repeat changes nothing
transition('batch_refuse', {}, function()
  local key = P .. a.id
  if not works_on(a.id, a.token) then
    return 'lost'
  end
  if call('HGET', key, 'at') == a.at then
    call('HSET', key .. ':lines', a.number, cjson.encode({ custom_id = a.custom_id or '' }))
    call('HSET', key .. ':answers', a.number, cjson.encode({ status = 'refused', error = a.error }))
    move_on(a.id, a.behind, a.number)
  end
  return 'written'
end)

-- Ends a batch of which no line, or no further line, can be taken. Jobs of lines taken before go on by themselves.
--   a      id, token, errors (JSON text), event_s, max_events
--   writes <batch> hash, batching zset, blob:<digest> zset, and what it tells
--   returns written | lost (it is another process's by now, or has ended)
transition('batch_fail', { 'allow-oom' }, function()
  if not works_on(a.id, a.token) then
    return 'lost'
  end
  call('HSET', P .. a.id, 'errors', a.errors)
  end_batch(a.id, 'failed')
  return 'written'
end)

-- Reads what was written of a batch's files.
--   a       id, token
--   returns nil where it is another process's by now, else the digests of {the output file's pieces, the error file's}
transition('batch_pieces', { 'no-writes' }, function()
  if not works_on(a.id, a.token) then
    return nil
  end
  return { call('LRANGE', P .. a.id .. ':good', 0, -1), call('LRANGE', P .. a.id .. ':bad', 0, -1) }
end)

-- Counts lines whose answers are written down, and takes them from those on their way.
--   a      id, token, numbers (of lines that were taken), or undone {at, behind, row} (the next lines, which are not taken
--          any more: their bytes and the last one's number), completed, failed, late, input_tokens, output_tokens,
--          cached_tokens, good and bad (digests of the written pieces, absent = nothing), holder (of their upload)
--   writes <batch> hash, <batch>:lines and <batch>:answers hashes, <batch>:good and <batch>:bad lists, blob:<digest> zset
--   returns written | lost (it is another process's by now)
--   repeat changes nothing
transition('batch_wrote', { 'allow-oom' }, function()
  local key = P .. a.id
  if not works_on(a.id, a.token) then
    return 'lost'
  end
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
  for _, count in ipairs({ 'completed', 'failed', 'late', 'input_tokens', 'output_tokens', 'cached_tokens' }) do
    call('HINCRBY', key, count, a[count])
  end
  for _, kind in ipairs({ 'good', 'bad' }) do
    if a[kind] then
      call('RPUSH', key .. ':' .. kind, a[kind])
      Files.hold(a[kind], a.id, '+inf')
      Files.release(a[kind], a.holder)
    end
  end
  call('HSET', key, 'wrote', now)
  local stage, at, last = unpack(call('HMGET', key, 'stage', 'at', 'last'))
  if stage == 'in_progress' and at == last and call('EXISTS', key .. ':lines') == 0 then
    come_to(a.id, 'finalizing')
  end
  return 'written'
end)

-- Ends a batch whose lines are all written down, together with the records of its files.
--   a      id, token, output and error (files as `file_create` takes them, absent = there is none), event_s, max_events
--   writes <batch> hash, batching zset, <file> hashes, files:<caller> zset, blob:<digest> zset, and what it tells
--   returns written | lost (it is another process's by now, has ended, or has lines still to be answered)
transition('batch_end', { 'allow-oom' }, function()
  local key = P .. a.id
  local at, last = unpack(call('HMGET', key, 'at', 'last'))
  if not works_on(a.id, a.token) or at ~= last or call('EXISTS', key .. ':lines') == 1 then
    return 'lost'
  end
  for _, kind in ipairs({ 'output', 'error' }) do
    if a[kind] then
      Files.keep_file(a[kind])
      call('HSET', key, kind, a[kind].id)
    end
  end
  local stage, late = unpack(call('HMGET', key, 'stage', 'late'))
  if stage == 'cancelling' then
    end_batch(a.id, 'cancelled')
  else
    end_batch(a.id, tonumber(late) > 0 and 'expired' or 'completed')
  end
  return 'written'
end)
