-- Where an admitted request goes: to an ended job that answers it, to a leader in flight, or in line. The arguments of
-- `submit` and `admit` describe it: see `Placing` in shared/store/admission.py.
--   cache:<key>:<print>  string  the ended job that answers requests with this key under this fingerprint
--   join:<key>           string  the leader in flight that they follow
--   idem:<caller>:<key>  hash    an idempotency key's digest (of the body), job, purged (1 = its caller deleted it)
--   jobs:<caller>, pair:<caller>:<digest>  zsets  a caller's jobs, and those with this pair of metadata, by creation

local SHARE_LIMIT = 500 -- jobs that share a computed answer; the next identical request leads again
local LAST_PRINT_MS = 86400000 -- ms for which the last fingerprint's cache entries serve without a live worker

-- A job's record outlives its end by job_s; before that it can wait and run for this long. Lists are renewed once a
-- day.
local LONGEST_WAIT_S, DAY_S = 2764800, 86400

-- One job in so many, by its id, looks at this many of the oldest jobs in each of its lists, and at this many others.
local A_LOOK = 16

-- What the given keys say, and then the jobs that may answer a request, by fingerprint; false if there is none.
local function entries(...)
  local keys, prints = { ... }, P .. 'prints:' .. a.lane
  local live = call('ZRANGEBYSCORE', prints, now - S.worker_ttl_s * 1000, '+inf')
  live = #live > 0 and live or call('ZREVRANGEBYSCORE', prints, '+inf', now - LAST_PRINT_MS, 'LIMIT', 0, 1)
  for _, print in ipairs(live) do
    keys[#keys + 1] = P .. 'cache:' .. a.key .. ':' .. print
  end
  return keys[1] and call('MGET', unpack(keys)) or {}
end

-- The ended work that answers the request; else nil, and the work in flight that it may follow.
local function find_work()
  if not a.key or a.pending then
    return nil
  end
  local ids = entries(P .. 'join:' .. a.key)
  for at = 2, #ids do
    local work = ids[at] and stored(ids[at])
    if work and Runs.outcome(work) and now < work.kept then
      return work
    end
  end
  local work = ids[1] and stored(ids[1])
  if work and Runs.goes_on(work) and Runs.live_count(work) < SHARE_LIMIT and not Lanes.superseded(work) then
    return nil, work
  end
end

local SLACK_MS = 1000 -- ms by which an answer may expire early, so that not each job rewrites popular work

-- The answer of ended work lives on for as long as the new job asks, and its texts for as long as the job's batch or
-- webhook reads them. Returns whether the work is to be written.
local function prolong(work, job)
  local ended, seconds = Runs.outcome(work).ended, job.retain_s or S.result_s
  local kept = math.max(work.kept, now + seconds * 1000)
  local more_s = Runs.needed_s(job)
  local needed_s = math.max(work.needed_s or 0, more_s and (now - ended) / 1000 + more_s or 0)
  if kept - work.kept < SLACK_MS and (needed_s - (work.needed_s or 0)) * 1000 < SLACK_MS then
    return false
  end
  work.kept, work.needed_s = kept, math.ceil(needed_s)
  for _, suffix in ipairs({ '', ':answer', ':followers' }) do
    call('PEXPIRE', P .. work.id .. suffix, Runs.texts_till(work) - now, 'GT')
  end
  local entry = Runs.cache_key(work, work.print)
  if entry and call('GET', entry) == work.id then
    call('EXPIRE', entry, seconds, 'GT')
  end
  for _, suffix in ipairs({ ':events', ':asked' }) do
    call('EXPIRE', P .. work.id .. suffix, seconds, 'GT')
  end
  Files.prolong(work.blobs, work.id, kept)
  Memory.prolong(work.id .. (work.apart and ':answer' or ''), (Runs.texts_till(work) - now) / 1000)
  return true
end

-- Gives a job the answer of ended work.
local function take_answer(job, work)
  Files.release(a.blobs, 'upload:' .. job.id)
  local followed = work.followed
  Runs.follow(work, job, 'inf')
  unset(job, 'question')
  Files.extend_life(P .. work.id .. ':followers', (Runs.texts_till(work) - now) / 1000)
  if prolong(work, job) or not followed then
    write(work)
  end
  job.cache = 'HIT'
  Runs.end_job(job, 'succeeded', Runs.outcome(work).last, false, nil)
end

-- Work has the first finish_by of its jobs, and for how long batches and webhooks read its answer.
local function note_job(work, job)
  work.limit_at = job.finish_by and math.min(job.finish_by, work.limit_at or job.finish_by) or work.limit_at
  work.needed_s = math.max(work.needed_s or 0, Runs.needed_s(job) or 0)
end

local function join(job, work)
  Files.release(a.blobs, 'upload:' .. job.id)
  note_job(work, job)
  -- An answer lives as long as each of its jobs asks.
  if work.retain_s ~= job.retain_s then
    work.keep_s = math.max(Runs.answer_s(work), job.retain_s or S.result_s)
  end
  Runs.follow(work, job, 'inf')
  unset(job, 'question')
  job.cache, job.queued_at = 'COALESCED', now
  if FairQueue.RANK[a.priority] < FairQueue.rank(work) then
    FairQueue.reclass(Lanes.of(a.lane), work, a.priority)
  end
  write(work)
  if work.started then
    Runs.announce_begin(job)
  end
end

-- Makes a job work, in line.
local function begin_work(job, uploaded)
  local lane = Lanes.of(a.lane)
  job.lane, job.blobs, job.cost, job.rows, job.key = a.lane, a.blobs, a.cost, a.rows, a.key
  job.hash = not a.key and a.hash or nil
  job.generation = lane.generation > 0 and lane.generation or nil
  job.placed = job.created ~= now and now or nil
  note_job(job, job)
  job.t.seq = job.t.seq or 0
  Events.leap(job)
  local former = a.key and call('SET', P .. 'join:' .. a.key, job.id, 'GET')
  local leader = former and stored(former)
  if leader and Runs.goes_on(leader) then
    -- The former leader is still computed for its followers.
    leader.displaced = 1
    write(leader)
  end
  Files.take_over(a.blobs, job.id, uploaded and job.id)
  job.cache = a.key and 'MISS' or 'BYPASS'
  FairQueue.enqueue_new(lane, job)
  local own = memo.waiting and memo.waiting[FairQueue.RANK[a.priority]]
  memo.ahead = own and { [job.id] = FairQueue.ahead(lane, job, own) }
  Estimates.promise(lane, job, Jobs.ahead_of(lane, job))
  job.t.seq = job.t.seq + 1 -- nobody listens yet
  job.queued_id = job.t.seq
  call('SET', P .. job.id .. ':asked', text)
end

-- Bytes of work beside those of its job.
local function bytes_of_work()
  return Memory.WORK_BYTES + #text + count_words(a.blobs) * Memory.HOLD_BYTES
end

-- The pictures that no job holds, or that are missing: only an upload makes sure that they are there. A run in flight
-- holds its own. For a picture `sent` with its bytes only the caller's own hold counts, otherwise the time of an answer
-- would show what others ask about.
local function unwritten(run)
  local missing = {}
  for digest in words(a.blobs) do
    local written, key = run, P .. 'blob:' .. digest
    local sent = string.find(a.sent or '', digest, 1, true)
    -- The longest hold is a job's if there is one; a wrong `missing` costs one needless upload.
    for _, holder in ipairs(run and {} or call('ZREVRANGEBYSCORE', key, '+inf', '(' .. now, 'LIMIT', 0, 16)) do
      written = written or string.sub(holder, 1, 7) ~= 'upload:' and not (sent and Files.caller_of(holder) ~= a.caller)
    end
    if not written or Files.is_missing(digest) then
      table.insert(missing, digest)
    end
  end
  return missing
end

-- Whether a lane has as many pieces as it may (full), or the caller has (crowded), of which it notes the numbers by
-- class. With API keys a caller must leave as much free for others, as with open requests (api/auth/middleware.py).
local function is_full(lane)
  local free = S.max_queued - FairQueue.waiting(lane)
  if free <= 0 then
    return 'full'
  end
  local counts, count = {}, 0
  for class, field in ipairs(FairQueue.WAITING) do
    counts[class] = lane[field] > 0 and call('ZCARD', FairQueue.line_key(lane.name, class, a.caller)) or 0
    count = count + counts[class]
  end
  memo.waiting = counts
  return (count >= a.max_queued_caller or S.shares and count >= free) and 'crowded' or nil
end

-- Why a request cannot be taken now: nil, draining, unready, paused, full or crowded (by this caller's own work).
local function refusal(joined)
  local lane = Lanes.of(a.lane)
  if lane.draining then
    return 'draining'
  elseif a.must_be_ready and lane.paused then
    return 'paused'
  elseif a.must_be_ready and Lanes.ready(lane) == 0 then
    return 'unready'
  end
  return not joined and (is_full(lane) or a.pending and is_full(Lanes.of('intake'))) or nil
end

local SHARE = 4 -- lines of batches leave three quarters of a lane to others

-- Why a batch's line waits where another request might not: full or crowded, by what waits in the class batch. A caller
-- that has nothing there is not kept out by others.
local function line_waits()
  local lane = Lanes.of(a.pending and 'intake' or a.lane)
  local own = call('ZCARD', FairQueue.line_key(lane.name, FairQueue.RANK.batch, a.caller))
  if own >= math.max(1, math.floor(a.max_queued_caller / SHARE)) then
    return 'crowded'
  end
  return own > 0 and lane.n3 >= math.floor(S.max_queued / SHARE) and 'full' or nil
end

-- What became of an earlier request with this idempotency key.
local function known_key()
  local key = a.idempotency and P .. 'idem:' .. a.caller .. ':' .. a.idempotency
  local found = key and fields_at(key, { 'digest', 'job', 'purged' })
  if not found or not found.digest then
    return nil
  elseif found.digest ~= (a.digest or '') then
    return { 'mismatch' }
  end
  local job = read(found.job)
  return job and { 'known', Jobs.view(job.id) } or { found.purged and 'purged' or 'expired' }
end

-- Puts a job into its caller's lists, which live as long as records may.
local function list(job)
  local seconds = math.max(S.job_s, job.retain_s or 0) + LONGEST_WAIT_S + DAY_S
  for _, key in ipairs(Jobs.lists_of(job.caller, job.pairs)) do
    call('ZADD', key, now, job.id)
    if call('TTL', key) < seconds - DAY_S then
      call('EXPIRE', key, seconds)
    end
    if string.sub(job.id, -1) == '0' then
      Jobs.cut(key, call('ZRANGE', key, 0, A_LOOK - 1))
      Jobs.cut(key, call('ZRANDMEMBER', key, -A_LOOK))
    end
  end
end

-- Begins the record of an admitted job, with its webhook, idempotency key and lists.
local function begin_job()
  local job = create(a.job, { caller = a.caller, model = a.model, model_lane = a.lane, priority = a.priority,
    metadata = a.metadata or '{}', created = now, paths = a.paths, finish_by = a.finish_by,
    retry_of = a.retry_of, response = a.response, retain_s = a.retain_s, unstored = a.unstored,
    line = a.line ~= 0 and a.line or nil, batch = a.batch,
    request_id = a.request_id, trace = a.trace, pairs = a.pairs, call_id = a.call_id,
    question = not a.unstored and a.question or nil, pictures = a.pictures })
  local former = a.retry_of and fields_at(P .. a.retry_of .. ':hook', { 'url', 'host', 'events', 'secret', 'key' })
  job.hook, job.beginnings = Webhooks.attach(job.id, former and former.url and former or a.hook)
  if not a.unstored then
    list(job)
  end
  if a.idempotency then
    local idem = P .. 'idem:' .. a.caller .. ':' .. a.idempotency
    call('HSET', idem, 'digest', a.digest or '', 'job', a.job)
    call('EXPIRE', idem, S.idempotency_s)
    job.idem = a.idempotency
  end
  return job
end

-- A job whose inputs are to be fetched waits in intake.
local function begin_intake(job)
  job.lane, job.blobs, job.t.server, job.cost = 'intake', a.blobs, Events.this_server(), 1
  job.generation = Lanes.of(a.lane).generation
  Files.take_over(a.blobs, job.id, a.uploaded and job.id)
  call('SET', P .. job.id .. ':asked', text)
  FairQueue.enqueue_new(Lanes.of('intake'), job)
end

-- Finds the place of a job's request; returns queued (it is work now) or known.
local function place(job, hit, work, uploaded)
  if hit then
    take_answer(job, hit)
  elseif work then
    join(job, work)
  else
    begin_work(job, uploaded)
    return 'queued'
  end
  return 'known'
end

-- Reads the cached answer of a request: {result, origin or '', the job that computed it, its r and s, now, data of its
-- text events, a JSON list}. nil if there is none, or its texts are wanted and have more than so many `bytes`.
transition('cached', { 'no-writes' }, function()
  for _, id in ipairs(entries()) do
    local key, json, result, origin = P .. (id or ''), nil, nil, nil
    if id then
      json, result, origin = raw(id, 'result', 'origin')
    end
    if json and value_at(json, 'apart":') then
      key = key .. ':answer'
      result, origin = unpack(call('HMGET', key, 'result', 'origin'))
    end
    if result and now < tonumber(field_of(json, 'kept":')) then
      local wrote = string.match(json[3], '"wrote":(%d+)') or 0
      if a.bytes and wrote + call('HSTRLEN', key, 'rest') > a.bytes then
        return nil
      end
      local texts = a.bytes and Events.texts(id, nil, key) or '[]'
      return { result, origin or '', id, json[1], json[2], now, texts }
    end
  end
end)

-- The answer of a job that is still asked for lives on.
transition('keep_answer', { 'allow-oom' }, function()
  local work = stored(a.job)
  if work and Runs.outcome(work) and now < work.kept and prolong(work, { retain_s = a.retain_s }) then
    write(work)
  end
end)

-- The one door: admits a request, or says in one word why not. Further arguments: `JobTerms` in
-- shared/store/admission.py, and `spare`, free bytes of the store as far as the caller knows. Text: the request.
-- Returns {word} for mismatch | purged | expired | gone (the job to retry) | removed | draining | unready | paused |
-- full | crowded | memory, {pictures, digests to upload first, those not held until then}, {queued, what is known of
-- the lane, its webhook}, else {intake | known, view, trace of the run that it shares}. A repeat answers `known`.
transition('submit', {}, function()
  Upkeep.notice_gap()
  local before = call('EXISTS', P .. a.job) == 1 and read(a.job)
  local again = before and before.id or Jobs.take_abandoned()
  local earlier = again and { 'known', Jobs.view(again) } or known_key()
  if earlier then
    return earlier
  elseif a.retry_of and not read(a.retry_of) then
    -- The webhook to copy went with the job to retry.
    return { 'gone' }
  elseif Lanes.of(a.lane).removed then
    return { 'removed' }
  end
  local hit, work = find_work()
  local word = not hit and (a.line and not work and line_waits() or refusal(work)) or nil
  if word == 'unready' then
    Lanes.want(Lanes.of(a.lane))
  end
  local own = (hit or work) and 0 or bytes_of_work()
  local needed = own > 0 and own + (a.room or 0) or 0
  if a.spare and needed > 0 and not word and (call('HGET', P .. 'mem', '') or 0) + needed > a.spare then
    word = 'memory'
  end
  local missing = (word or hit or a.uploaded) and {} or unwritten(work)
  if word or #missing > 0 then
    return word and { word } or { 'pictures', missing, a.sent and Files.hold_upload(a.blobs, missing) or missing }
  end
  local job = begin_job()
  local m = Memory.charge(a.job, a.caller, Runs.bytes_of_job(job) + own + #(a.terms or ''), needed - own)
  if hit then
    -- It ends in this call, and what is not there cannot be given a time to live.
    call('HSET', P .. job.id, 'm', m)
  end
  if a.pending then
    begin_intake(job)
    word = 'intake'
  else
    word = place(job, hit, work, a.uploaded)
  end
  if not hit then
    local terms = a.pending and { 'terms', a.terms } or {}
    write(job, 'm', m, unpack(terms))
    Runs.watch_deadline(job)
  end
  if word == 'queued' then
    local lane = Lanes.of(a.lane)
    return { word, Lanes.view(lane, Jobs.ahead_of(lane, job)), job.hook and Webhooks.view(a.job) or nil }
  end
  local shared = hit or work
  return { word, Jobs.view(job.id), shared and shared.trace or '' }
end)

-- Fields of a job in intake.
local OF_INTAKE =
  { 'attempts', 'attempt', 'worker', 'state', 'blobs', 'lane', 'started', 'failures', 'deaths', 'deaths_alone' }

-- Admits a job whose inputs have been fetched; it was accepted before and is never refused. `token` is the intake
-- claim's; text: the request with its pictures' digests. Returns queued (it is work now) | placed (hit or follower, or
-- ended) | lost (the claim is another's). A repeat answers placed.
transition('admit', { 'allow-oom' }, function()
  local job = stored(a.job)
  if job and job.admitted == a.token then
    return 'placed'
  elseif not job or job.status or job.t.token ~= a.token then
    return 'lost'
  end
  local ended = (Lanes.of(a.lane).removed or Lanes.superseded(job)) and S.removed
  if ended or not Runs.fail_late(job) then
    Files.release(a.blobs, 'upload:' .. job.id)
    if ended then
      Runs.fail_work(job, ended)
    end
    job.admitted = a.token
    write(job)
    return 'placed'
  end
  FairQueue.unlease(job)
  Files.release(job.blobs, job.id)
  for _, name in ipairs(OF_INTAKE) do
    unset(job, name)
  end
  job.t.token, job.admitted, job.pictures = nil, a.token, a.pictures
  call('HDEL', P .. job.id, 'terms')
  local hit, work = find_work()
  local own = (hit or work) and 0 or bytes_of_work()
  local m = Memory.settle(job.id, Runs.bytes_of_job(job) + own, nil, own > 0 and a.room or 0)
  if hit or work then
    call('DEL', P .. job.id .. ':asked')
  end
  local word = place(job, hit, work, true)
  if not hit then
    write(job, 'm', m)
  end
  wake(job.id, 'state')
  return word == 'queued' and word or 'placed'
end)

-- Looks an idempotency key up, before anything else is done for a repeated request: {word} for mismatch | purged |
-- expired, {known, view}, nil if the key is new.
transition('known', { 'no-writes' }, known_key)

-- How many pieces would begin before a follower, whose leader rises to its class.
local function ahead_of_leader(lane, work)
  if work.state ~= 'queued' or FairQueue.RANK[a.priority] >= FairQueue.rank(work) then
    return Jobs.ahead_of(lane, work)
  end
  local key = FairQueue.line_key(lane.name, FairQueue.RANK[a.priority], work.caller)
  local own = call('ZCOUNT', key, '-inf', '(' .. work.arrival)
  return FairQueue.ahead(lane, { priority = a.priority, caller = work.caller }, own)
end

-- Says what `submit` would answer a request now, and changes nothing: {hit | joins | queued | removed | draining | full
-- | crowded, what is known of the lane, state of the leader that it would follow or ''}.
transition('predict', { 'no-writes' }, function()
  local lane = Lanes.of(a.lane)
  local hit, work = find_work()
  local word = lane.removed and 'removed' or hit and 'hit' or refusal(work)
  local ahead = not word and (work and ahead_of_leader(lane, work) or FairQueue.ahead(lane, a))
  return { word or work and 'joins' or 'queued', Lanes.view(lane, ahead), work and work.state or '' }
end)
