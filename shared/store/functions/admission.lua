-- Where an admitted request goes: to an ended job that answers it, to a leader in flight, or in line.
-- The request is described by `p`, the arguments of `submit` or `admit`: lane, model, caller, priority, hash, key (reuse
-- key; absent = neither hit nor follower), blobs (digests, words), cost, room (bytes that its answers may take, with their events),
-- rows (that its answers take, where there are several), question (its beginning) and pictures (how many), of a request that is stored.

-- At most so many jobs share an answer that is computed; the next identical request leads again.
local SHARE_LIMIT = 500

-- Without a live worker, cache entries of the last fingerprint seen are still used for this long.
local LAST_PRINT_MS = 86400000

-- A job's record outlives its end by job_s; before its end a job can wait and run for this long.
local LONGEST_WAIT_S = 2764800

-- The life of a list is renewed once a day.
local DAY_S = 86400

-- One job in so many, by the last digit of its id, looks at as many of the oldest jobs in the lists that it enters, and at as many
-- at random.
local A_LOOK = 16

-- What the given keys say, and then the jobs that may answer a request, one for each fingerprint; false where there is none.
local function entries(p, ...)
  local keys, prints = { ... }, P .. 'prints:' .. p.lane
  local live = call('ZRANGEBYSCORE', prints, now - S.worker_ttl_s * 1000, '+inf')
  live = #live > 0 and live or call('ZREVRANGEBYSCORE', prints, '+inf', now - LAST_PRINT_MS, 'LIMIT', 0, 1)
  for _, print in ipairs(live) do
    keys[#keys + 1] = P .. 'cache:' .. p.key .. ':' .. print
  end
  return keys[1] and call('MGET', unpack(keys)) or {}
end

-- The ended work that answers a request; else nil, and the work in flight that it may follow.
local function find(p)
  if not p.key or p.pending then
    return nil
  end
  local ids = entries(p, P .. 'join:' .. p.key)
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

local function release(blobs, holder)
  for digest in words(blobs) do
    Files.release(digest, holder)
  end
end

-- Work, or a job whose inputs are fetched, takes over the pictures that were held for its upload.
local function take_over(blobs, job, uploaded)
  for digest in words(blobs) do
    Files.take_over(digest, job.id, uploaded and job.id)
  end
end

-- An answer may go so much before its time.
local SLACK_MS = 1000

-- The answer of ended work lives on for as long as the new job asks, and its texts for as long as the job's batch or
-- webhook reads them.
local function prolong(work, job)
  local ended, seconds = Runs.outcome(work).ended, job.retain_s or S.result_s
  local kept = math.max(work.kept, now + seconds * 1000)
  local more_s = Runs.needed_s(job)
  local needed_s = math.max(work.needed_s or 0, more_s and (now - ended) / 1000 + more_s or 0)
  -- Work that many ask for is not written anew for each.
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
  for digest in words(work.blobs) do
    Files.prolong(digest, work.id, kept)
  end
  Memory.prolong(work.id .. (work.apart and ':answer' or ''), (Runs.texts_till(work) - now) / 1000)
  return true
end

-- Gives a job the answer of ended work. Work that many ask for is not written anew for each.
local function take_answer(job, work, p)
  release(p.blobs, 'upload:' .. job.id)
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

-- Work knows the first finish_by of its jobs, and how long batches and webhooks read its answer.
local function note_job(work, job)
  work.limit_at = job.finish_by and math.min(job.finish_by, work.limit_at or job.finish_by) or work.limit_at
  work.needed_s = math.max(work.needed_s or 0, Runs.needed_s(job) or 0)
end

local function join(job, work, p)
  release(p.blobs, 'upload:' .. job.id)
  note_job(work, job)
  -- An answer is kept for as long as each of its jobs asks.
  if work.retain_s ~= job.retain_s then
    work.keep_s = math.max(Runs.answer_s(work), job.retain_s or S.result_s)
  end
  Runs.follow(work, job, 'inf')
  unset(job, 'question')
  job.cache, job.queued_at = 'COALESCED', now
  if FairQueue.RANK[p.priority] < FairQueue.rank(work) then
    FairQueue.reclass(Lanes.of(p.lane), work, p.priority)
  end
  write(work)
  if work.started then
    Runs.announce_begin(job)
  end
end

-- Makes a job work, in line.
function Admission.begin_work(job, p, request, uploaded)
  local lane = Lanes.of(p.lane)
  job.lane, job.blobs, job.cost, job.rows, job.key = p.lane, p.blobs, p.cost, p.rows, p.key
  job.hash = not p.key and p.hash or nil
  job.generation = lane.generation > 0 and lane.generation or nil
  job.placed = job.created ~= now and now or nil
  note_job(job, job)
  job.t.seq = job.t.seq or 0
  Events.leap(job)
  local former = p.key and call('SET', P .. 'join:' .. p.key, job.id, 'GET')
  local leader = former and stored(former)
  if leader and Runs.goes_on(leader) then
    -- It goes on, for those that follow it.
    leader.displaced = 1
    write(leader)
  end
  take_over(p.blobs, job, uploaded)
  job.cache = p.key and 'MISS' or 'BYPASS'
  FairQueue.enqueue_new(lane, job)
  local own = memo.waiting and memo.waiting[FairQueue.RANK[p.priority]]
  memo.ahead = own and { [job.id] = FairQueue.ahead(lane, job, own) }
  Estimates.promise(lane, job, Jobs.ahead_of(lane, job))
  job.t.seq = job.t.seq + 1 -- nobody listens yet
  job.queued_id = job.t.seq
  call('SET', P .. job.id .. ':asked', request)
end

-- What work takes beside what its job does.
local function bytes_of_work(p, request)
  return Memory.WORK_BYTES + #request + count_words(p.blobs) * Memory.HOLD_BYTES
end

-- The pictures that no job holds, or that are missing: only an upload makes sure that they are there. A run in
-- flight, where there is one, holds its own. For a picture `sent` with its bytes only the caller's own hold counts: else
-- the time of an answer would show what others ask about.
local function unwritten(p, run)
  local missing = {}
  for digest in words(p.blobs) do
    local written = run
    local sent = string.find(p.sent or '', digest, 1, true)
    -- The longest hold is a job's where there is one; a wrong `missing` costs one needless upload.
    for _, holder in ipairs(run and {}
      or call('ZREVRANGEBYSCORE', P .. 'blob:' .. digest, '+inf', '(' .. now, 'LIMIT', 0, 16)) do
      written = written or string.sub(holder, 1, 7) ~= 'upload:' and not (sent and Files.caller_of(holder) ~= p.caller)
    end
    if not written or Files.is_missing(digest) then
      table.insert(missing, digest)
    end
  end
  return missing
end

-- Whether a lane has `most` pieces, or `most_caller` of a caller's, whose number by class is noted.
-- With API keys a caller may have no more than stays free for others; so it is with open requests (api/auth/middleware.py).
local function is_full(lane, caller, most, most_caller)
  local free = most - FairQueue.waiting(lane)
  if free <= 0 then
    return 'full'
  end
  local counts, count = {}, 0
  for class = 1, 3 do
    counts[class] = lane[FairQueue.WAITING[class]] > 0 and call('ZCARD', FairQueue.line_key(lane.name, class, caller)) or 0
    count = count + counts[class]
  end
  memo.waiting = counts
  return (count >= most_caller or S.shares and count >= free) and 'crowded' or nil
end

-- Why a request cannot be taken now: nil, draining, unready, paused, full or crowded (by this caller's own work).
local function refusal(p, joined)
  local lane = Lanes.of(p.lane)
  if lane.draining then
    return 'draining'
  end
  if p.must_be_ready then
    if lane.paused then
      return 'paused'
    elseif Lanes.ready(lane) == 0 then
      return 'unready'
    end
  end
  if not joined then
    return is_full(lane, p.caller, S.max_queued, p.max_queued_caller)
      or p.pending and is_full(Lanes.of('intake'), p.caller, S.max_queued, p.max_queued_caller)
  end
end

-- Lines of batches leave three quarters of a lane to others.
local SHARE = 4

-- Why a batch's line waits where another request might not: full or crowded, by what waits in the class batch. Who has nothing
-- there is not kept out by others.
local function line_waits(p)
  local lane = Lanes.of(p.pending and 'intake' or p.lane)
  local own = call('ZCARD', FairQueue.line_key(lane.name, FairQueue.RANK.batch, p.caller))
  if own >= math.max(1, math.floor(p.max_queued_caller / SHARE)) then
    return 'crowded'
  end
  return own > 0 and lane.n3 >= math.floor(S.max_queued / SHARE) and 'full' or nil
end

-- What an idempotency key was used for: idem:<caller>:<key> hash (digest of the body, job, purged = 1 where its caller
-- deleted the job).
local function known_key()
  local found = a.idempotency and call('HMGET', P .. 'idem:' .. a.caller .. ':' .. a.idempotency, 'digest', 'job', 'purged')
  if not found or not found[1] then
    return nil
  elseif found[1] ~= (a.digest or '') then
    return { 'mismatch' }
  end
  local job = read(found[2])
  return job and { 'known', Jobs.view(job.id) } or { found[3] and 'purged' or 'expired' }
end

-- The lists in which a job stands: jobs:<caller>, and pair:<caller>:<digest> for each pair of its metadata, zsets by creation.
-- They hold ids for as long as records may live.
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

-- Writes down a job that was let in, under its webhook, its key and its lists.
function Admission.begin_job()
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
  take_over(a.blobs, job, a.uploaded)
  call('SET', P .. job.id .. ':asked', text)
  FairQueue.enqueue_new(Lanes.of('intake'), job)
end

-- Finds the place of a job's request; returns queued (it is work now) or known.
local function place(job, p, hit, work, request, uploaded)
  if hit then
    take_answer(job, hit, p)
  elseif work then
    join(job, work, p)
  else
    Admission.begin_work(job, p, request, uploaded)
    return 'queued'
  end
  return 'known'
end

-- What a caller is given of an answer, without decoding its record: Python does.
local function answer_of(id, json, result, origin)
  local texts = '[]'
  if a.bytes then
    local key = P .. id .. (value_at(json, 'apart":') and ':answer' or '')
    local size = (tonumber(string.match(json[3], '"wrote":(%d+)')) or 0) + call('HSTRLEN', key, 'rest')
    if size > a.bytes then
      return nil
    end
    texts = Events.texts(id, nil, key)
  end
  return { result, origin or '', id, json[1], json[2], now, texts }
end

-- Reads the cached answer of a request, for a caller who wants nothing but that: {result, origin or '', the job that computed it,
-- its r and s, now, data of its text events, a JSON list}. nil where there is none; or its texts are wanted, and have more than
-- so many `bytes`.
transition('cached', { 'no-writes' }, function()
  for _, id in ipairs(entries(a)) do
    local json, result, origin
    if id then
      json, result, origin = raw(id, 'result', 'origin')
    end
    if json and value_at(json, 'apart":') then
      result, origin = unpack(call('HMGET', P .. id .. ':answer', 'result', 'origin'))
    end
    if result and now < tonumber(field_of(json, 'kept":')) then
      return answer_of(id, json, result, origin)
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

-- The one door: admits a request, or says in one word why not. Beside `p`:
--   terms (of the courier, JSON), pending (inputs must be fetched first), idempotency (digest of the key) and digest (of the
--   body), uploaded (its pictures are written and held), sent (digests of those that came with their bytes) and hold_s,
--   call_id (digest of a call that its caller may repeat), retry_of, spare (bytes that no record takes, as far as the caller knows), hook (its webhook), line (of a batch: until when that
--   reads it, 0 = as long as others), and fields of the job (Jobs in the table of docs/architecture). Text: the request.
-- Returns {word} for mismatch | purged | expired | gone (the job to retry) | removed |
-- draining | unready | paused | full | crowded | memory, {pictures, digests to upload first, those of them that are to be
-- touched before: the others are held}, {queued, what is known of the lane and how many are ahead, url and events of its
-- webhook}, else {intake | known, view, trace of the run that it shares}. A repeat answers `known`.
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
  local hit, work = find(a)
  local word
  if not hit then
    word = a.line and not work and line_waits(a) or refusal(a, work)
  end
  if word == 'unready' then
    Lanes.want(Lanes.of(a.lane))
  end
  local own = (hit or work) and 0 or bytes_of_work(a, text)
  local needed = (hit or work) and 0 or own + (a.room or 0)
  if a.spare and needed > 0 and not word and (call('HGET', P .. 'mem', '') or 0) + needed > a.spare then
    word = 'memory'
  end
  local missing = (word or hit or a.uploaded) and {} or unwritten(a, work)
  if word or #missing > 0 then
    return word and { word } or { 'pictures', missing, a.sent and Files.hold_upload(a.blobs, missing) or missing }
  end
  local job = Admission.begin_job()
  local m = Memory.charge(a.job, a.caller, Runs.bytes_of_job(job) + own + #(a.terms or ''), needed - own)
  if hit then
    -- It ends in this call, and what is not there cannot be given a time to live.
    call('HSET', P .. job.id, 'm', m)
  end
  if a.pending then
    begin_intake(job)
    word = 'intake'
  else
    word = place(job, a, hit, work, text, a.uploaded)
  end
  if not hit then
    local terms = a.pending and { 'terms', a.terms } or {}
    write(job, 'm', m, unpack(terms))
    Runs.watch_deadline(job)
  end
  if word == 'queued' then
    local lane = Lanes.of(a.lane)
    return { word, Lanes.view(lane, Jobs.ahead_of(lane, job)),
      job.hook and Webhooks.view(a.job) or nil }
  end
  local shared = hit or work
  return { word, Jobs.view(job.id), shared and shared.trace or '' }
end)

-- What was true of a job while it waited in intake.
local OF_INTAKE = { 'attempts', 'attempt', 'worker', 'state', 'blobs', 'lane', 'started', 'failures', 'deaths', 'deaths_alone' }

-- Admits a job whose inputs have been fetched; it was accepted before and is never refused. `token` is the intake claim's; text:
-- the request with its pictures' digests. Returns queued (it is work now) | placed (hit or follower, or ended) | lost (the claim
-- is another's). A repeat answers placed.
transition('admit', { 'allow-oom' }, function()
  local job = stored(a.job)
  if job and job.admitted == a.token then
    return 'placed'
  elseif not job or job.status or job.t.token ~= a.token then
    return 'lost'
  end
  local ended = (Lanes.of(a.lane).removed or Lanes.superseded(job)) and S.removed
  if ended or not Runs.fail_late(job) then
    release(a.blobs, 'upload:' .. job.id)
    if ended then
      Runs.fail_work(job, ended)
    end
    job.admitted = a.token
    write(job)
    return 'placed'
  end
  FairQueue.unlease(job)
  release(job.blobs, job.id)
  for _, name in ipairs(OF_INTAKE) do
    unset(job, name)
  end
  job.t.token, job.admitted, job.pictures = nil, a.token, a.pictures
  call('HDEL', P .. job.id, 'terms')
  local hit, work = find(a)
  local own = (hit or work) and 0 or bytes_of_work(a, text)
  local m = Memory.settle(job.id, Runs.bytes_of_job(job) + own, nil, own > 0 and a.room or 0)
  if hit or work then
    call('DEL', P .. job.id .. ':asked')
  end
  local word = place(job, a, hit, work, text, true)
  if not hit then
    write(job, 'm', m)
  end
  wake(job.id, 'state')
  return word == 'queued' and word or 'placed'
end)

-- Looks an idempotency key up, before anything else is asked of a repeated request: {word} for mismatch | purged | expired,
-- {known, view}, nil where the key is new.
transition('known', { 'no-writes' }, known_key)

-- How many pieces would be begun before a follower: its leader rises to its class.
local function ahead_of_leader(lane, work)
  if work.state ~= 'queued' or FairQueue.RANK[a.priority] >= FairQueue.rank(work) then
    return Jobs.ahead_of(lane, work)
  end
  local key = FairQueue.line_key(lane.name, FairQueue.RANK[a.priority], work.caller)
  return FairQueue.ahead(lane, { priority = a.priority, caller = work.caller }, call('ZCOUNT', key, '-inf', '(' .. work.arrival))
end

-- Says what `submit` would answer a request now, and changes nothing: {hit | joins | queued | removed | draining | full | crowded,
-- what is known of the lane and how many are ahead, state of the leader that it would follow or ''}.
transition('predict', { 'no-writes' }, function()
  local lane = Lanes.of(a.lane)
  local hit, work = find(a)
  local word = lane.removed and 'removed' or hit and 'hit' or refusal(a, work)
  local ahead = not word and (work and ahead_of_leader(lane, work) or FairQueue.ahead(lane, a))
  return { word or work and 'joins' or 'queued', Lanes.view(lane, ahead), work and work.state or '' }
end)
