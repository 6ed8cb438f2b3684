-- Where an admitted request goes: an ended run that answers it, the same run in flight, or a new run.
-- Spec `p`: run, lane, model, caller, priority, hash, key (reuse key; absent = neither hit nor join),
-- blobs (digests), cost, room (bytes that its answers may take, with their events), rows (that its answers take, where
-- there are several), must_be_ready, patience_ms, max_queued,
-- max_queued_caller, worker_ttl_s, result_s, job_s.
-- Text: the request.

-- At most so many jobs share a run; the next identical request opens a new one.
local SHARE_LIMIT = 256

-- Without a live worker, cache entries of the last fingerprint seen are still used for this long.
local LAST_PRINT_MS = 86400000

local function live_prints(lane, ttl_ms)
  local key = P .. 'prints:' .. lane
  local live = call('ZRANGEBYSCORE', key, now - ttl_ms, '+inf')
  if #live > 0 then
    return live
  end
  local last = call('ZREVRANGEBYSCORE', key, '+inf', now - LAST_PRINT_MS, 'LIMIT', 0, 1)
  return last
end

local function cached(p)
  for _, print in ipairs(live_prints(p.lane, p.worker_ttl_s * 1000)) do
    local run = call('GET', P .. 'cache:' .. p.key .. ':' .. print)
    if run and get(run, 'state') == 'succeeded' then
      return run
    end
  end
end

-- Releases a job's uploaded pictures, where it needs no run of its own.
local function let_go(job)
  for _, digest in ipairs(a.blobs) do
    Files.release(digest, 'upload:' .. job)
  end
end

local function subscribe_ended(job, run)
  let_go(job)
  local seconds = Runs.retention(job, a.result_s)
  Files.hold_run(run, job)
  -- TTL rounds to seconds: a run that many ask for is not written anew for each.
  if call('TTL', P .. run) < seconds then
    for _, suffix in ipairs({ '', ':events', ':holders' }) do
      call('EXPIRE', P .. run .. suffix, seconds, 'GT')
    end
    for digest in string.gmatch(get(run, 'blobs') or '', '%S+') do
      Files.prolong(digest, run, now + seconds * 1000)
    end
  end
  put(job, 'run', run, 'cache', 'HIT')
  Runs.end_job(job, 'succeeded', get(run, 'seq'), false, nil)
end

local function joinable(p)
  local run = call('GET', P .. 'join:' .. p.key)
  if run and Runs.live_count(run) < SHARE_LIMIT and not Queue.superseded(run) then
    local state = not is_newer(run) and get(run, 'state')
    if state == 'queued' or state == 'running' or state == 'retrying' then
      return run
    end
  end
end

-- A run is kept for as long as each of its jobs asks.
local function keep_for(run, job)
  local own, other = get(run, 'retain_s'), get(job, 'retain_s')
  if own ~= other then
    put(run, 'retain_s', math.max(own or a.result_s, other or a.result_s))
  end
end

-- A run knows whether any of its jobs has a time of its own: for the others nobody looks.
local function note_times(job, run)
  if get(job, 'start_by') or get(job, 'finish_by') then
    put(run, 'timed', 1)
  end
end

local function join(job, run, p)
  let_go(job)
  note_times(job, run)
  keep_for(run, job)
  call('SADD', P .. run .. ':live', job)
  put(run, 'joined', 1)
  Files.hold_run(run, job)
  put(job, 'run', run, 'cache', 'COALESCED', 'queued_at', now)
  if Queue.rank(p.priority) < Queue.rank(get(run, 'priority')) then
    Queue.reclass(run, p.lane, p.priority)
  end
  if get(run, 'started') then
    Webhooks.announce_beginning(job)
  end
end

-- A run, or a job whose inputs are fetched, takes over the pictures that were held for its upload.
local function take_over(digests, job, holder)
  for _, digest in ipairs(digests) do
    Files.hold(digest, holder, '+inf')
    Files.release(digest, 'upload:' .. job)
  end
end

local function ready_workers(lane)
  return once('ZCOUNT', P .. 'ready:' .. lane, Estimates.alive_since(), '+inf')
end

-- Writes down when a new run is expected to begin, so that the estimate can be scored. There is none without a ready
-- worker.
local function promise(run, lane)
  local ready = ready_workers(lane)
  if ready == 0 or once('SISMEMBER', P .. 'paused', lane) == 1 then
    return
  end
  local class, caller = fields(run, 'priority', 'caller')
  memo.ahead[run] = Queue.ahead(lane, class, caller, call('ZRANK', Queue.line_key(lane, class, caller), run))
  local own = {}
  Estimates.promise(own, Queue.lane(lane), memo.ahead[run], ready)
  put(run, 'reckoned', own.reckoned, 'kind', own.kind, 'p50', own.p50, 'p90', own.p90, 'epoch', own.epoch)
end

-- A job taken in by another server process may have had a run that this one has forgotten: its ids are skipped, too.
local function open_run(job, p, request)
  local retain_s, unstored, request_id, trace = fields(job, 'retain_s', 'unstored', 'request_id', 'trace')
  create(p.run, 'v', VERSION, 'job', job, 'opener', job, 'caller', p.caller, 'model', p.model, 'lane', p.lane,
    'priority', p.priority, 'hash', p.hash, 'blobs', p.blobs[1] and table.concat(p.blobs, ' '), 'request', request,
    'created', now, 'cost', p.cost, 'due', p.cost, 'rows', p.rows, 'size', #request, 'join', p.key,
    'generation', Queue.generation_of(p.lane),
    'failures', 0, 'deaths', 0, 'chars', 0, 'seq', Events.server_changed(job) and Events.LEAP or 0,
    'server', Events.this_server(), 'retain_s', retain_s, 'unstored', unstored, 'request_id', request_id, 'trace', trace)
  if p.key then
    call('SET', P .. 'join:' .. p.key, p.run)
  end
  note_times(job, p.run)
  Memory.reserve(p.run, p.room)
  Memory.hold(p.run, Memory.RUN_BYTES + #request + (p.room or 0))
  take_over(p.blobs, job, p.run)
  Files.hold_run(p.run, job)
  put(job, 'run', p.run, 'cache', p.key and 'MISS' or 'BYPASS')
  Queue.enqueue(p.run, p.lane)
  promise(p.run, p.lane)
  put(p.run, 'queued_id', Events.number(p.run, 'queued'))
end

-- The pictures that no run or job holds, or that are missing: only an upload makes sure that they are there. A run in
-- flight, where there is one, holds its own. For a picture `sent` with its bytes only the caller's own hold counts: else
-- the time of an answer would tell what others ask about.
local function unwritten(digests, run, sent, caller)
  local missing, brought = {}, {}
  for _, digest in ipairs(sent or {}) do
    brought[digest] = true
  end
  for _, digest in ipairs(digests) do
    local written = run
    if not run then
      -- The longest hold is a run's or job's where there is one; a wrong `missing` costs one needless upload.
      local longest = call('ZREVRANGEBYSCORE', P .. 'blob:' .. digest, '+inf', '(' .. now, 'LIMIT', 0, 16)
      for _, holder in ipairs(longest) do
        written = written or string.sub(holder, 1, 7) ~= 'upload:'
          and not (brought[digest] and Files.caller_of(holder) ~= caller)
      end
    end
    if not written or Files.is_missing(digest) then
      table.insert(missing, digest)
    end
  end
  return missing
end

-- How much work of a caller waits in a lane.
local function waiting_of(lane, caller)
  local count = 0
  for _, class in ipairs(Queue.CLASSES) do
    count = count + call('ZCARD', Queue.line_key(lane, class, caller))
  end
  return count
end

-- Why a request cannot be taken now: nil, draining, unready, paused, slow (a caller who waits would time out before the
-- answer), full or crowded (by this caller's own work).
local function refusal(p, joined)
  if once('SISMEMBER', P .. 'draining', p.lane) == 1 then
    return 'draining'
  end
  if p.must_be_ready then
    local ready = ready_workers(p.lane)
    if ready == 0 then
      return 'unready'
    end
    if once('SISMEMBER', P .. 'paused', p.lane) == 1 then
      return 'paused'
    end
    local own = call('ZCARD', Queue.line_key(p.lane, p.priority, p.caller))
    local first = not joined and Queue.ahead(p.lane, p.priority, p.caller, own)
    if first and Estimates.answer_ms(Queue.lane(p.lane), first, ready) > p.patience_ms then
      return 'slow'
    end
  end
  for _, line in ipairs(joined and {} or p.pending and { p.lane, 'intake' } or { p.lane }) do
    -- What is scheduled counts, too.
    local all, own = unpack(call('HMGET', P .. 'later:' .. line, '', p.caller))
    if call('ZCARD', P .. 'queue:' .. line) + (all or 0) >= p.max_queued then
      return 'full'
    end
    if waiting_of(line, p.caller) + (own or 0) >= p.max_queued_caller then
      return 'crowded'
    end
  end
end

-- Why a batch's line waits where another request might not: full or crowded. Batches have no more than their share of a
-- lane, the courier's included.
local function line_waits(p)
  local word = Batches.share_taken(p.lane, p.caller, p.max_queued, p.max_queued_caller)
  if word then
    -- No process opens the batch's file before there is room.
    call('HSET', P .. p.line.batch, 'waits_for', p.lane)
    return word
  end
  if p.pending and call('ZCARD', P .. 'queue:intake') >= Batches.share_of(p.max_queued) then
    return 'full'
  end
  if p.pending and waiting_of('intake', p.caller) >= Batches.share_of(p.max_queued_caller) then
    return 'crowded'
  end
end

-- What an idempotency key was used for: idem:<caller>:<key> hash (digest of the body, job, purged = 1 where its caller
-- deleted the job).

local function known()
  local idem = a.idempotency and P .. 'idem:' .. a.caller .. ':' .. a.idempotency
  if not idem or call('EXISTS', idem) == 0 then
    return nil
  end
  local digest, job, purged = unpack(call('HMGET', idem, 'digest', 'job', 'purged'))
  if digest ~= a.digest then
    return { 'mismatch' }
  end
  local seen = Jobs.view(job)
  return seen and { 'known', seen } or { purged and 'purged' or 'expired' }
end

-- A job's record outlives its end by job_s; before its end a job can wait and run for this long.
local LONGEST_WAIT_S = 2764800

-- The one door: admits a request, or says in one word why not.
--   a      job, caller, model, lane (model's), priority, metadata (JSON text), pairs (digests of it), paths (JSON text, the
--          caller's names of what errors may name), hash, run, key, blobs,
--          pending (inputs must be fetched first) and terms (the courier's, JSON text),
--          idempotency (digest of the key) and digest (of the body), uploaded (its pictures are written and
--          held), sent (digests of those that came with their bytes), start_by, finish_by and schedule_at (Unix ms),
--          retry_of, response (JSON text, what it tells as one of OpenAI's responses), room (see `p` above), spare (bytes
--          that no record takes, as far as the caller knows; absent = no limit), hook (its webhook {url, host, events,
--          secret}; a retry has that of the job it tries again), cost, must_be_ready,
--          patience_ms, max_queued, max_queued_caller, wait_ms, worker_ttl_s, gap_ms, grace_ms, result_s, job_s,
--          event_s, max_events, idempotency_s, retain_s (its caller's own result_s and job_s), unstored (1 = the job is
--          forgotten once its end was told, and stands in no list), request_id and trace (of the call; a carrier of
--          shared/telemetry/traces.py), quiet (true = its end is told to its own webhook only), line {batch, number, at,
--          behind, custom_id} (the batch line that the job answers)
--   text   the request
--   reads  prints:<lane> zset, ready:<lane> zset, cache:<key>:<print> string, generations hash, <retry_of>:hook
--          hash, hashes of those who hold a picture
--   writes gap hash, <job> hash, <run> hash, join:<key> string, idem:<caller>:<key> hash, queue:<lane> zset,
--          <job>:hook hash, jobs:<caller> and pair:<caller>:<digest> zsets, blob:<digest> zset, deadlines and
--          schedule zsets, holdings:<part> hash
--   returns {word} for mismatch | purged | expired | gone (the job to retry) | passed (another process took the line) |
--           removed | draining | unready | paused | slow | full | crowded | memory, {pictures, digests to upload first}, else
--           {queued | intake | known, view, trace of the run that it shares}
--   repeat the same job id answers `known`
--   events queued, where a new run waits
transition('submit', {}, function()
  Upkeep.notice_gap()
  if record(a.job) then
    return { 'known', Jobs.view(a.job) }
  end
  local earlier = known()
  if earlier then
    return earlier
  end
  -- The webhook to copy went with the job to retry.
  if a.retry_of and not record(a.retry_of) then
    return { 'gone' }
  end
  if a.line and Batches.line_passed(a.line) then
    return { 'passed' }
  end
  if call('SISMEMBER', P .. 'removed', a.lane) == 1 then
    return { 'removed' }
  end
  local hit = a.key and not a.pending and cached(a)
  local run = a.key and not a.pending and not hit and joinable(a)
  local word = not hit and (a.line and line_waits(a) or refusal(a, run))
  if word then
    return { word }
  end
  if not hit and not run and not Memory.fits(Memory.RUN_BYTES + #text + (a.room or 0)) then
    return { 'memory' }
  end
  local missing = (hit or a.uploaded) and {} or unwritten(a.blobs, run, a.sent, a.caller)
  if #missing > 0 then
    return { 'pictures', missing }
  end
  create(a.job, 'v', VERSION, 'caller', a.caller, 'model', a.model, 'model_lane', a.lane, 'lane', a.lane, 'priority', a.priority,
    'metadata', a.metadata, 'created', now, 'paths', a.paths, 'start_by', a.start_by, 'finish_by', a.finish_by,
    'schedule_at', a.schedule_at, 'retry_of', a.retry_of, 'response', a.response, 'retain_s', a.retain_s,
    'unstored', a.unstored, 'request_id', a.request_id, 'trace', a.trace, 'quiet', a.quiet and 1)
  if a.line then
    Batches.take_line(a.line, a.job)
  end
  Memory.hold(a.job, Memory.of_job(a.job) + (a.pending and #text or 0))
  local hook = a.hook or {}
  for _, name in ipairs({ 'url', 'host', 'events', 'secret' }) do
    local value = hook[name] or a.retry_of and call('HGET', P .. a.retry_of .. ':hook', name)
    if value then
      call('HSET', P .. a.job .. ':hook', name, value)
      put(a.job, 'hook', 1)
    end
  end
  if not a.unstored then
    Jobs.list(a.job, a.caller, a.pairs or {}, math.max(a.job_s, a.retain_s or 0) + LONGEST_WAIT_S)
  end
  if a.idempotency then
    local idem = P .. 'idem:' .. a.caller .. ':' .. a.idempotency
    call('HSET', idem, 'digest', a.digest, 'job', a.job)
    call('EXPIRE', idem, a.idempotency_s)
    -- Two names: an older `purge` frees every `idem`, which is right for an unstored job only.
    put(a.job, a.unstored and 'idem' or 'keyed', a.idempotency)
  end
  if hit then
    subscribe_ended(a.job, hit)
  elseif run then
    join(a.job, run, a)
  elseif a.pending then
    put(a.job, 'lane', 'intake', 'request', text, 'terms', a.terms,
      'blobs', table.concat(a.blobs, ' '), 'generation', Queue.generation_of(a.lane), 'failures', 0, 'deaths', 0,
      'server', Events.this_server())
    Memory.reserve(a.job, a.room)
    take_over(a.blobs, a.job, a.job)
    if a.schedule_at and a.schedule_at > now then
      Queue.postpone(a.job, 'scheduled', a.schedule_at)
      Queue.count_later(a.job, 1)
    else
      Queue.enqueue(a.job, 'intake')
      word = 'intake'
    end
  else
    open_run(a.job, a, text)
    word = 'queued'
  end
  if not hit then
    Runs.look_later(a.job)
  end
  local shared = hit or run
  return { word or 'known', Jobs.view(a.job), shared and get(shared, 'trace') or '' }
end)

-- Admits a job whose inputs have been fetched; it was accepted before and is never refused.
--   a      job, token (of the intake claim), removed (JSON, the job's error where its model was removed), the placing
--          spec of this file (`p` above), failures (see runs.lua)
--   text   the request with its pictures' digests
--   writes as `submit`; takes the job out of lease
--   returns queued (a new run waits) | placed (hit or joined, or ended) | lost (the claim is another's)
--   repeat with the same token after success: placed
--   events queued, where a new run waits
transition('admit', { 'allow-oom' }, function()
  if get(a.job, 'admitted') == a.token then
    return 'placed'
  end
  if get(a.job, 'token') ~= a.token or get(a.job, 'status') then
    return 'lost'
  end
  if call('SISMEMBER', P .. 'removed', a.lane) == 1 or Queue.superseded(a.job) then
    put(a.job, 'admitted', a.token)
    let_go(a.job)
    Runs.fail_work(a.job, a.removed)
    return 'placed'
  end
  if not Runs.leave_late(a.job, 'finish_by') then
    put(a.job, 'admitted', a.token)
    let_go(a.job)
    return 'placed'
  end
  unlease(a.job, 'intake')
  Memory.give_back_room(a.job)
  Memory.hold(a.job, Memory.of_job(a.job))
  for digest in string.gmatch(get(a.job, 'blobs') or '', '%S+') do
    Files.release(digest, a.job)
  end
  remove(a.job, 'attempts', 'token', 'worker', 'request', 'state', 'arrival', 'due', 'terms', 'blobs',
    'generation')
  put(a.job, 'admitted', a.token, 'lane', a.lane)
  local hit = a.key and cached(a)
  local run = a.key and not hit and joinable(a)
  if hit then
    subscribe_ended(a.job, hit)
  elseif run then
    join(a.job, run, a)
  else
    open_run(a.job, a, text)
  end
  wake(a.job, 'state')
  return (hit or run) and 'placed' or 'queued'
end)

-- Reads what a job asked, for a retry or a response.
--   a       job, caller
--   returns {status or '', request or '', metadata, priority, paths or '', unstored or ''}, nil where the caller has no such job
transition('asked', { 'no-writes' }, function()
  if not owned(a.job, a.caller) then
    return nil
  end
  local told = Jobs.as_told(a.job)
  local status, run, metadata, priority, paths, unstored =
    told.status, told.run, told.metadata, told.priority, told.paths, told.unstored
  local request = status and not run and call('HGET', P .. a.job .. ':asked', 'request') or get(run or a.job, 'request')
  return { status or '', request or '', metadata, priority, paths or '', unstored or '' }
end)

-- Looks an idempotency key up, before anything else is asked of a repeated request.
--   a      caller, idempotency (digest of the key), digest (of the body), worker_ttl_s
--   reads  idem:<caller>:<key> hash
--   returns {word} for mismatch | purged | expired, {known, view}, nil where the key is new
transition('known', { 'no-writes' }, function()
  return known()
end)

-- Says what `submit` would answer a request now, and changes nothing.
--   a      caller, lane (model's), priority, key, pending (inputs must be fetched, or its time come), max_queued,
--          max_queued_caller, worker_ttl_s
--   reads  prints:<lane> zset, ready:<lane> zset, cache:<key>:<print> string, join:<key> string, queue:<lane> zset
--   returns {hit | joins | queued | removed | draining | full | crowded, what is known of the lane and who is ahead,
--           state of the run that it would join or ''}
transition('foretell', { 'no-writes' }, function()
  local facts = Jobs.lane_view(a.lane)

  local function ahead(count)
    table.insert(facts, 'ahead')
    table.insert(facts, count)
    return facts
  end

  -- A run of a lower class rises to the class of a job that joins it.
  local function ahead_of_joined(run)
    local class, caller, arrival = fields(run, 'priority', 'caller', 'arrival')
    if Queue.rank(a.priority) >= Queue.rank(class) or not call('ZSCORE', Queue.line_key(a.lane, class, caller), run) then
      return Jobs.ahead_of(run, a.lane)
    end
    local own = call('ZCOUNT', Queue.line_key(a.lane, a.priority, caller), '-inf', '(' .. arrival)
    return Queue.ahead(a.lane, a.priority, caller, own)
  end

  if call('SISMEMBER', P .. 'removed', a.lane) == 1 then
    return { 'removed', facts, '' }
  end
  local hit = a.key and not a.pending and cached(a)
  if hit then
    return { 'hit', facts, '' }
  end
  local run = a.key and not a.pending and joinable(a)
  local word = refusal(a, run)
  if word then
    return { word, facts, '' }
  end
  if run then
    return { 'joins', ahead(ahead_of_joined(run)), get(run, 'state') }
  end
  local own = call('ZCARD', Queue.line_key(a.lane, a.priority, a.caller))
  return { 'queued', ahead(Queue.ahead(a.lane, a.priority, a.caller, own)), '' }
end)
