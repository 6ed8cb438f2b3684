-- Where an admitted request goes: an ended run that answers it, the same run in flight, or a new run.
-- Spec `p`: run, lane, model, caller, priority, hash, key (reuse key; absent = neither hit nor join),
-- blobs (digests), cost, rows (that its answers take, where there are several), must_be_ready, patience_ms, max_queued,
-- max_queued_caller, worker_ttl_s, result_s, job_s.
-- Text: the request.
-- @include ending
-- @include holders
-- @include outlook
-- @include alive

-- At most so many jobs share a run; the next identical request opens a new one.
local SHARE_LIMIT = 256
-- Without a live worker, cache entries of the last fingerprint seen are still used for this long.
local LAST_PRINT_MS = 86400000

local function live_prints(lane, ttl_ms)
  local key = P .. 'prints:' .. lane
  local live = redis.call('ZRANGEBYSCORE', key, now - ttl_ms, '+inf')
  if #live > 0 then
    return live
  end
  local last = redis.call('ZREVRANGEBYSCORE', key, '+inf', now - LAST_PRINT_MS, 'LIMIT', 0, 1)
  return last
end

local function cached(p)
  for _, print in ipairs(live_prints(p.lane, p.worker_ttl_s * 1000)) do
    local run = redis.call('GET', P .. 'cache:' .. p.key .. ':' .. print)
    if run and redis.call('HGET', P .. run, 'state') == 'succeeded' then
      return run
    end
  end
end

-- Releases a job's uploaded pictures, where it needs no run of its own.
local function let_go(job)
  for _, digest in ipairs(a.blobs) do
    release(digest, 'upload:' .. job)
  end
end

local function subscribe_ended(job, run)
  let_go(job)
  local seconds, answer = retention(job, a.result_s), fields_at(P .. run, RUN_TOLD)
  -- TTL rounds to seconds: a run that many ask for is not written anew for each.
  if redis.call('TTL', P .. run) < seconds then
    for _, suffix in ipairs({ '', ':events', ':attempts', ':holders' }) do
      redis.call('EXPIRE', P .. run .. suffix, seconds, 'GT')
    end
    for digest in string.gmatch(redis.call('HGET', P .. run, 'blobs') or '', '%S+') do
      prolong(digest, run, now + seconds * 1000)
    end
  end
  hold_run(run, job)
  redis.call('HSET', P .. job, 'run', run, 'cache', 'HIT')
  end_job(job, 'succeeded', tonumber(answer.seq), false, nil, answer)
end

local function joinable(p)
  local run = redis.call('GET', P .. 'join:' .. p.key)
  if run and redis.call('SCARD', P .. run .. ':live') < SHARE_LIMIT and not superseded(run) then
    local state = not is_newer(run) and redis.call('HGET', P .. run, 'state')
    if state == 'queued' or state == 'running' or state == 'retrying' then
      return run
    end
  end
end

-- A run is kept for as long as each of its jobs asks.
local function keep_for(run, job)
  local own, other = redis.call('HGET', P .. run, 'retain_s'), redis.call('HGET', P .. job, 'retain_s')
  if own ~= other then
    redis.call('HSET', P .. run, 'retain_s', math.max(own or a.result_s, other or a.result_s))
  end
end

local function join(job, run, p)
  let_go(job)
  keep_for(run, job)
  redis.call('SADD', P .. run .. ':live', job)
  hold_run(run, job)
  redis.call('HSET', P .. job, 'run', run, 'cache', 'COALESCED', 'queued_at', now)
  if rank(p.priority) < rank(redis.call('HGET', P .. run, 'priority')) then
    reclass(run, p.lane, p.priority)
  end
  if redis.call('HEXISTS', P .. run, 'started') == 1 then
    announce_beginning(job)
  end
end

-- A run, or a job whose inputs are fetched, takes over the pictures that were held for its upload.
local function take_over(digests, job, holder)
  for _, digest in ipairs(digests) do
    hold(digest, holder, '+inf')
    release(digest, 'upload:' .. job)
  end
end

local function ready_workers(lane)
  return redis.call('ZCOUNT', P .. 'ready:' .. lane, alive_since(), '+inf')
end

-- Writes down when a new run is expected to begin, so that the estimate can be scored. There is none without a ready
-- worker.
local function promise(run, lane)
  local ready = ready_workers(lane)
  if ready == 0 or redis.call('SISMEMBER', P .. 'paused', lane) == 1 then
    return
  end
  local class, caller = unpack(redis.call('HMGET', P .. run, 'priority', 'caller'))
  local own, pace = redis.call('ZRANK', line_key(lane, class, caller), run), pace_of(lane)
  ahead[run] = served_first(lane, class, caller, own)
  local wait, kind = reckoned(lane, pace, ready, ahead[run], 'slots')
  local half = wait * factor(pace, kind, 'p50')
  redis.call('HSET', P .. run, 'reckoned', wait, 'kind', kind, 'p50', half,
    'p90', math.max(half, wait * factor(pace, kind, 'p90')), 'epoch', epoch(pace))
end

-- A job taken in by another server process may have had a run that this one has forgotten: its ids are skipped, too.
local function open_run(job, p, request)
  local record = { 'v', VERSION, 'job', job, 'caller', p.caller, 'model', p.model, 'lane', p.lane, 'priority', p.priority,
    'hash', p.hash, 'blobs', table.concat(p.blobs, ' '), 'request', request, 'created', now, 'cost', p.cost,
    'generation', generation_of(p.lane), 'failures', 0, 'deaths', 0, 'seq', server_changed(job) and LEAP or 0,
    'server', this_server(), 'chars', 0 }
  for name, value in pairs(fields_at(P .. job, { 'retain_s', 'unstored', 'request_id', 'trace' })) do
    add(record, name, value)
  end
  add(record, 'join', p.key)
  add(record, 'rows', p.rows)
  redis.call('HSET', P .. p.run, unpack(record))
  if p.key then
    redis.call('SET', P .. 'join:' .. p.key, p.run)
  end
  take_over(p.blobs, job, p.run)
  redis.call('SADD', P .. p.run .. ':live', job)
  hold_run(p.run, job)
  redis.call('HSET', P .. job, 'run', p.run, 'cache', p.key and 'MISS' or 'BYPASS')
  enqueue(p.run, p.lane)
  promise(p.run, p.lane)
  emit(p.run, 'queued', '{}')
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
      local longest = redis.call('ZREVRANGEBYSCORE', P .. 'blob:' .. digest, '+inf', '(' .. now, 'LIMIT', 0, 16)
      for _, holder in ipairs(longest) do
        written = written or string.sub(holder, 1, 7) ~= 'upload:'
          and not (brought[digest] and redis.call('HGET', P .. holder, 'caller') ~= caller)
      end
    end
    if not written or is_missing(digest) then
      table.insert(missing, digest)
    end
  end
  return missing
end

-- How much work of a caller waits in a lane.
local function waiting_of(lane, caller)
  local count = 0
  for _, class in ipairs(CLASSES) do
    count = count + redis.call('ZCARD', line_key(lane, class, caller))
  end
  return count
end

-- Why a request cannot be taken now: nil, draining, unready, paused, slow (a caller who waits would time out before the
-- answer), full or crowded (by this caller's own work).
local function refusal(p, joined)
  if redis.call('SISMEMBER', P .. 'draining', p.lane) == 1 then
    return 'draining'
  end
  if p.must_be_ready then
    local ready = ready_workers(p.lane)
    if ready == 0 then
      return 'unready'
    end
    if redis.call('SISMEMBER', P .. 'paused', p.lane) == 1 then
      return 'paused'
    end
    if not joined and answer_ms(p.lane, p.priority, p.caller, ready) > p.patience_ms then
      return 'slow'
    end
  end
  for _, line in ipairs(joined and {} or p.pending and { p.lane, 'intake' } or { p.lane }) do
    -- What is scheduled counts, too.
    local all, own = unpack(redis.call('HMGET', P .. 'later:' .. line, '', p.caller))
    if redis.call('ZCARD', P .. 'queue:' .. line) + (all or 0) >= p.max_queued then
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
  local word = share_taken(p.lane, p.caller, p.max_queued, p.max_queued_caller)
  if word then
    -- No process opens the batch's file before there is room.
    redis.call('HSET', P .. p.line.batch, 'waits_for', p.lane)
    return word
  end
  if p.pending and redis.call('ZCARD', P .. 'queue:intake') >= share_of(p.max_queued) then
    return 'full'
  end
  if p.pending and waiting_of('intake', p.caller) >= share_of(p.max_queued_caller) then
    return 'crowded'
  end
end
