-- The one door: admits a request, or says in one word why not.
--   a      job, caller, model, lane (model's), priority, metadata (JSON text), pairs (digests of it), paths (JSON text, the
--          caller's names of what errors may name), hash, run, key, blobs,
--          pending (inputs must be fetched first) and terms (the courier's, JSON text),
--          idempotency (digest of the key) and digest (of the body), uploaded (its pictures are written and
--          held), sent (digests of those that came with their bytes), start_by, finish_by and schedule_at (Unix ms),
--          retry_of, response (JSON text, what it tells as one of OpenAI's responses), hook (its webhook
--          {url, host, events, secret}; a retry has that of the job it tries again), cost, must_be_ready,
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
--           removed | draining | unready | paused | slow | full | crowded, {pictures, digests to upload first}, else
--           {queued | intake | known, view, trace of the run that it shares}
--   repeat the same job id answers `known`
--   events queued, where a new run waits
-- @include base
-- @include placing
-- @include watch
-- @include holdings
-- @include idempotency
-- @include deadlines
-- @include pairs

-- A job's record outlives its end by job_s; before its end a job can wait and run for this long.
local LONGEST_WAIT_S = 2764800

notice_gap()
if redis.call('EXISTS', P .. a.job) == 1 then
  return { 'known', view(a.job) }
end

local earlier = known()
if earlier then
  return earlier
end

-- The webhook to copy went with the job to retry.
if a.retry_of and redis.call('EXISTS', P .. a.retry_of) == 0 then
  return { 'gone' }
end
if a.line and line_passed(a.line) then
  return { 'passed' }
end
if redis.call('SISMEMBER', P .. 'removed', a.lane) == 1 then
  return { 'removed' }
end

local hit = a.key and not a.pending and cached(a)
local run = a.key and not a.pending and not hit and joinable(a)
local word = not hit and (a.line and line_waits(a) or refusal(a, run))
if word then
  return { word }
end
local missing = (hit or a.uploaded) and {} or unwritten(a.blobs, run, a.sent, a.caller)
if #missing > 0 then
  return { 'pictures', missing }
end

local record = { 'v', VERSION, 'caller', a.caller, 'model', a.model, 'model_lane', a.lane, 'lane', a.lane, 'priority', a.priority,
  'metadata', a.metadata, 'created', now }
for _, name in ipairs({ 'paths', 'start_by', 'finish_by', 'schedule_at', 'retry_of', 'response', 'retain_s', 'unstored', 'request_id',
  'trace' }) do
  add(record, name, a[name])
end
add(record, 'quiet', a.quiet and 1)
redis.call('HSET', P .. a.job, unpack(record))
if a.line then
  take_line(a.line, a.job)
end
local of_run = (hit or run) and SHARED_BYTES or JOB_BYTES + #ARGV[2]
count_holding(a.job, a.caller, of_run + 2 * #a.metadata + #(a.response or ''), a.retain_s or a.result_s)
local hook = a.hook or {}
for _, name in ipairs({ 'url', 'host', 'events', 'secret' }) do
  local value = hook[name] or a.retry_of and redis.call('HGET', P .. a.retry_of .. ':hook', name)
  if value then
    redis.call('HSET', P .. a.job .. ':hook', name, value)
  end
end
if not a.unstored then
  list(a.job, a.caller, a.pairs or {}, math.max(a.job_s, a.retain_s or 0) + LONGEST_WAIT_S)
end
if a.idempotency then
  local idem = P .. 'idem:' .. a.caller .. ':' .. a.idempotency
  redis.call('HSET', idem, 'digest', a.digest, 'job', a.job)
  redis.call('EXPIRE', idem, a.idempotency_s)
  -- Two names: an older purge.lua frees every `idem`, which is right for an unstored job only.
  redis.call('HSET', P .. a.job, a.unstored and 'idem' or 'keyed', a.idempotency)
end

if hit then
  subscribe_ended(a.job, hit)
elseif run then
  join(a.job, run, a)
elseif a.pending then
  redis.call('HSET', P .. a.job, 'lane', 'intake', 'request', ARGV[2], 'terms', a.terms,
    'blobs', table.concat(a.blobs, ' '), 'generation', generation_of(a.lane), 'failures', 0, 'deaths', 0,
    'server', this_server())
  take_over(a.blobs, a.job, a.job)
  if a.schedule_at and a.schedule_at > now then
    postpone(a.job, 'scheduled', a.schedule_at)
    count_later(a.job, 1)
  else
    enqueue(a.job, 'intake')
    word = 'intake'
  end
else
  open_run(a.job, a, ARGV[2])
  word = 'queued'
end
if not hit then
  look_later(a.job)
end
local shared = hit or run
return { word or 'known', view(a.job), shared and redis.call('HGET', P .. shared, 'trace') or '' }
