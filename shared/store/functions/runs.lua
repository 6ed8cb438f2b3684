-- Jobs and runs: a job is a caller's, a run is computed once for all its jobs. A job ends once, by its run's end or by its
-- own; a run ends once.
--   job_… r, s: caller, model, model_lane, priority, created, run, cache, its times, its end (status, ended, last, own, error) …;
--         before it has a run also what a run has to stand in line, and the texts request and terms
--   run_… r, s: job (its first, until it has `left`), joined (1 = others, too), lane, priority, key (its answer's,
--         for reuse), classes (its jobs by class), state (queued | running | retrying | succeeded | failed | cancelled), cost,
--         attempts, its end; t: token, seq, chars …; texts request, rest, result, bare, origin
--   <run>:live, <run>:began    sets   jobs that joined it; those whose beginning is still to be announced
--   <run>:readers              zset   jobs that may read it, beside its first, by when they go (inf = not known yet)
--   <run>:asked, <job>:asked   string the request of an ended run or job, for a retry
--   ending                     list   runs whose joined jobs' ends are to be written, <run>:began likewise
--   deadlines                  zset   jobs that have not ended, by when each is looked at next

-- Where the cache leads to an answer of a run under a fingerprint; nil where it never does.
function Runs.cache_key(run, print)
  return run.key and print and P .. 'cache:' .. run.key .. ':' .. print
end

-- How long a record is kept for its callers, and how long stored: the log of ends reads it for longer (webhooks.lua).
local function lives(record, seconds, log_s)
  local own = record.retain_s or seconds
  return own, math.max(own, log_s or 0)
end

-- For how long the log of ends reads a job, or the batch whose line it is; nil where neither does.
function Runs.log_s(job)
  if job.line then
    return math.max(math.ceil((job.line - now) / 1000), 1)
  end
  return not job.quiet and math.min(job.retain_s or S.event_s, S.event_s) or nil
end

-- A job that is not its run's first holds the answer for as long as it is stored itself; without `seconds` that is not known.
function Runs.hold_for(job, seconds)
  if job.run and job.cache ~= 'MISS' then
    call('ZADD', P .. job.run .. ':readers', 'XX', seconds and now + seconds * 1000 or 'inf', job.id)
  end
end

-- An unstored job outlives its end by its retain_s, whether its webhook was called or not, and so do its notices.
local function expire_unstored(job)
  local seconds = job.retain_s or S.job_s
  if call('TTL', P .. job.id) < 0 then
    call('EXPIRE', P .. job.id, seconds)
    Runs.hold_for(job, seconds)
  end
  for _, suffix in ipairs({ ':asked', ':hook', ':deliveries', ':began', ':ended' }) do
    if call('EXPIRE', P .. job.id .. suffix, seconds, 'NX') == 1 then
      Memory.prolong(job.id .. suffix, seconds)
    end
  end
  if job.idem then
    call('EXPIRE', P .. 'idem:' .. job.caller .. ':' .. job.idem, seconds, 'LT')
  end
end

-- An ended job is kept until its webhook was called, and then for job_s.
function Runs.expire_job(job)
  if job.unstored then
    expire_unstored(job)
  elseif not (job.hook and Webhooks.has_pending(job.id)) then
    local own, whole = lives(job, S.job_s, Runs.log_s(job))
    if whole > own then
      job.till = now + own * 1000
    else
      unset(job, 'till')
    end
    call('EXPIRE', P .. job.id, whole)
    Runs.hold_for(job, whole)
    for _, suffix in ipairs(job.hook and { ':hook', ':deliveries' } or {}) do
      call('EXPIRE', P .. job.id .. suffix, own)
    end
  end
end

-- What a job holds beside its run.
function Runs.bytes_of_job(job)
  return Memory.JOB_BYTES + #job.metadata + #(job.response or '') + #(job.question or '') + #(job.paths or '')
    + (job.hook or 0) + count_words(job.pairs) * Memory.LIST_BYTES
end

-- Which limit of a job has passed (start_by, finish_by), or nil and when to look again. A job that has begun, or names
-- no start_by, may wait in line for wait_ms from its scheduled time, when its run was queued last, or when it joined the run.
function Runs.passed(job)
  local work = job.run and read(job.run) or job
  local to_finish, to_start = job.finish_by or math.huge, now + S.wait_ms
  if job.start_by and not (job.run and work.started) then
    to_start = job.start_by
  elseif work.state == 'queued' then
    to_start = math.max(work.queued_at, job.queued_at or 0) + S.wait_ms
  elseif work.state == 'scheduled' then
    to_start = job.schedule_at + S.wait_ms
  end
  if now >= to_finish then
    return 'finish_by'
  end
  return now >= to_start and 'start_by' or nil, math.min(to_start, to_finish)
end

function Runs.schedule_deadline(job)
  local _, at = Runs.passed(job)
  call('ZADD', P .. 'deadlines', at or now, job.id)
end

-- The answer of a run as JSON: whole, or without its logprobs.
function Runs.answer(run, bare)
  local texts = run and (memo[run.id] or call('HMGET', P .. run.id, 'result', 'bare'))
  if texts then
    memo[run.id] = texts
    return bare and texts[2] or texts[1] or nil
  end
end

-- Writes a job's end. `last` is the newest run event that the job's stream replays; own = the job ended by itself, and
-- its stream gets one more event after `last`. Returns what that costs: one, and one for each call of a webhook that it makes.
function Runs.end_job(job, status, last, own, failure, at)
  job.status, job.ended, job.last, job.own, job.error = status, at or now, last, own and 1 or nil, failure
  local run = job.run and stored(job.run)
  local answer = status == 'succeeded' and Runs.answer(run, true) or nil
  local calls = Webhooks.announce('ended', job)
  Metrics.report_end(job, run, answer)
  call('ZREM', P .. 'deadlines', job.id)
  Runs.expire_job(job)
  local _, seconds = lives(job, S.job_s, Runs.log_s(job))
  -- What was asked stays for a while with a job that ends before it has a run.
  write(job, 'm', Memory.settle(job.id, job.run and Runs.bytes_of_job(job) or Memory.bytes_of(job.id), seconds))
  if not job.run then
    wake(job.id, 'state')
  end
  return 1 + calls
end

-- Ends a job whose run is lost, and with it the number of its last event: the time is after any that a reader has seen.
function Runs.end_lost(job)
  wake(job.run or job.id, 'state')
  return Runs.end_job(job, 'failed', now, true, S.lost)
end

-- The end of a run is the end of all its jobs. That of its opener is written with it; those of the jobs that joined it are
-- read through the run until they are written, in pieces.

-- Jobs and calls that one call may write beside openers.
local PIECE = 32

-- Writes the end of a job whose run has ended.
function Runs.end_with_run(job, run)
  call('SREM', P .. run.id .. ':live', job.id)
  if call('SREM', P .. run.id .. ':began', job.id) == 1 then
    Webhooks.announce('began', job)
  end
  return Runs.end_job(job, run.state, run.end_id, false, run.error, run.ended)
end

-- Does something for members of a set of jobs, each taken out, until `budget` is spent; returns what is left of it.
local function piece(key, budget, act)
  while budget > 0 do
    local id = redis.pcall('SPOP', P .. key)
    if type(id) ~= 'string' then
      break
    end
    local job = read(id)
    if job and not job.status then
      local ok, cost = pcall(act, job)
      if not ok then
        spoil(id, cost)
      end
      budget = budget - (ok and cost or 1)
    end
  end
  return budget
end

-- A lost run's id says which job was its first.
local function end_joined(run_id, budget)
  local run = stored(run_id)
  local first = not run and read('job_' .. sub(run_id, 5))
  if first and first.run == run_id and not first.status then
    budget = budget - Runs.end_lost(first)
  end
  return piece(run_id .. ':live', budget, function(job)
    if run then
      return Runs.end_with_run(job, run)
    end
    return Runs.end_lost(job)
  end)
end

local function begin_joined(run_id, budget)
  return piece(run_id .. ':began', budget, function(job)
    return 1 + Webhooks.announce('began', job)
  end)
end

-- How long an ended run is still to be stored, in ms.
function Runs.life_left(run)
  local _, whole = lives(run, S.result_s, run.log_s)
  return math.max(run.ended + whole * 1000 - now, 1000)
end

-- A run whose jobs' ends are all written goes when it was to go, or a moment later.
local function expire_after_ends(id)
  local run = stored(id)
  if run and run.ended and call('TTL', P .. id) == -1 then
    for _, suffix in ipairs({ '', ':readers' }) do
      call('PEXPIRE', P .. id .. suffix, math.max(Runs.life_left(run), (run.till or 0) - now))
    end
  end
end

-- Goes on with ends of jobs that joined a run, and with announcing that it has begun: `budget` jobs and calls at most.
-- Returns how many runs are left. A repeat goes on.
transition('finish', { 'allow-oom' }, function()
  local budget = a.budget
  while budget > 0 do
    local entry = call('LINDEX', P .. 'ending', 0)
    if not entry then
      return 0
    end
    local run = string.match(entry, '^[^:]+')
    budget = (run == entry and end_joined or begin_joined)(run, budget)
    if budget > 0 then
      call('LPOP', P .. 'ending')
      if run == entry then
        expire_after_ends(run)
      end
    end
  end
  return call('LLEN', P .. 'ending')
end)

-- Announces to all jobs of a run that it has begun.
function Runs.announce_beginning(run)
  local opener = (run.beginnings or call('EXISTS', P .. 'endpoints:' .. run.caller) == 1) and not run.left and read(run.job)
  if opener then
    Webhooks.announce('began', opener)
  end
  if run.joined and Runs.live_count(run) > 0 then
    call('SUNIONSTORE', P .. run.id .. ':began', P .. run.id .. ':live')
    if begin_joined(run.id, PIECE) <= 0 then
      call('RPUSH', P .. 'ending', run.id .. ':began')
    end
  end
end

-- What was asked, to a key of its own, which ends before the record.
function Runs.move_request(work, seconds)
  local request = memo.request or call('HGET', P .. work.id, 'request')
  call('SET', P .. work.id .. ':asked', request or '', 'EX', seconds)
end

-- Keeps everything of an ended run for result_s or the run's own retain_s, and its pictures no longer than that. Where the
-- log of ends reads its answer for longer, what was asked goes before, and from its record now: one of `texts`, which are then
-- written. Returns for how long the record is stored.
local function expire_run(run, texts)
  local own, whole = lives(run, S.result_s, run.log_s)
  call('EXPIRE', P .. run.id, whole)
  if whole > own then
    run.till = now + own * 1000
    Runs.move_request(run, own)
    texts.request = ''
  end
  if run.t.wrote then
    call('EXPIRE', P .. run.id .. ':events', own)
  end
  if run.held then
    call('EXPIRE', P .. run.id .. ':readers', whole)
  end
  for digest in words(run.blobs) do
    Files.keep_until(digest, run.id, now + own * 1000, run.created)
  end
  return whole
end

-- Ends a run and its opener's job, and tells the run's worker, unless the end is `known` there. `texts`: what came of it, by
-- name.
function Runs.end_run(run, status, failure, known, texts)
  local worker = run.worker
  Queue.leave(run, status)
  local join = run.key and P .. 'join:' .. run.key
  if join and call('GET', join) == run.id then
    call('DEL', join)
  end
  run.state, run.ended, run.error, run.worker, run.t.token, run.t.unread = status, now, failure, nil, nil, nil
  run.end_id = Events.number(run)
  wake(run.id, 'state')
  texts = texts or {}
  local opener, seconds = not run.left and read(run.job), expire_run(run, texts)
  local bytes, flat = Memory.bytes_of(run.id) + (run.t.wrote or 0) + Memory.END_BYTES, {}
  for name, value in pairs(texts) do
    add(flat, name, value)
    bytes = bytes + #value
  end
  memo[run.id] = { texts.result or false, texts.bare or false }
  run.left = 1
  write(run, 'm', Memory.settle(run.id, bytes, seconds), unpack(flat))
  if opener then
    Runs.end_job(opener, status, run.end_id, false, failure)
  end
  if run.joined then
    memo.budget = end_joined(run.id, memo.budget or PIECE)
    if memo.budget <= 0 then
      call('RPUSH', P .. 'ending', run.id)
      -- However long nobody goes on: the other ends are still to be read from it.
      for _, suffix in ipairs({ '', ':readers' }) do
        call('PERSIST', P .. run.id .. suffix)
      end
    end
  end
  if worker and not known then
    wake(worker, 'state')
  end
end

-- Takes a job out of intake or out of its schedule, and lets go of what it held.
local function leave_intake(job, outcome)
  local seconds = (lives(job, S.result_s))
  Queue.leave(job, outcome)
  for digest in words(job.blobs) do
    Files.keep_until(digest, job.id, now + seconds * 1000, job.created)
  end
  Runs.move_request(job, seconds)
  call('HDEL', P .. job.id, 'request', 'terms')
  job.worker, job.t.token = nil, nil
end

-- Ends a piece of work that cannot go on: a run, a batch, a webhook's call, or a job whose inputs are being fetched.
function Runs.fail_work(work, failure)
  if is_run(work.id) then
    Runs.end_run(work, 'failed', failure)
  elseif work.lane == 'batch' then
    Batches.fail(work, failure)
  elseif is_call(work.id) then
    Webhooks.settle(work)
  else
    leave_intake(work, 'failed')
    Runs.end_job(work, 'failed', 0, true, failure)
  end
end

-- The jobs that a run is for: its opener, until it leaves, and those that joined it.
function Runs.live_jobs(run)
  local jobs = run.joined and call('SMEMBERS', P .. run.id .. ':live') or {}
  if not run.left then
    table.insert(jobs, run.job)
  end
  return jobs
end

function Runs.live_count(run)
  return (run.left and 0 or 1) + (run.joined and call('SCARD', P .. run.id .. ':live') or 0)
end

-- Counts a job of a class among those that wait for a run.
function Runs.count_job(run, priority, step)
  local classes = run.classes
  classes[priority] = (classes[priority] or 0) + step
  run.classes = classes
end

-- A run is as urgent as the most urgent job that still waits for it.
local function lower_priority(run, left)
  Runs.count_job(run, left, -1)
  local class = Queue.RANK[left]
  while class < 3 and (run.classes[Queue.CLASSES[class]] or 0) < 1 do
    class = class + 1
  end
  if left == run.priority and Queue.CLASSES[class] ~= left then
    Queue.reclass(Lanes.of(run.lane), run, Queue.CLASSES[class])
  end
end

-- Takes a job out of its run, which the last job to leave ends. A job that has ended stays as it is.
function Runs.leave(job, status, failure)
  if job.status then
    return
  elseif not job.run then
    leave_intake(job, status)
    Runs.end_job(job, status, 0, true, failure)
    return
  end
  -- Its end is the job's, though nobody sees its answer any more.
  local run = stored(job.run)
  if not run then
    Runs.end_lost(job)
  elseif run.ended then
    Runs.end_with_run(job, run)
  else
    -- The job's own end comes after the run's last event.
    Events.leap(run)
    Runs.end_job(job, status, run.t.seq, true, failure)
    if run.job == job.id then
      run.left = 1
    else
      call('SREM', P .. run.id .. ':live', job.id)
    end
    wake(run.id, 'state')
    if Runs.live_count(run) == 0 then
      Runs.end_run(run, 'cancelled', nil)
    else
      lower_priority(run, job.priority)
      write(run)
    end
  end
end

-- So many jobs may end because their run is met in line or settled by one call.
Runs.ENDS = 14

-- Fails the late jobs of a run, or a late job without one, as their work moves on: ENDS of them at most. Returns false where no
-- job is left, how many were late, and how many were looked at. The start_by of work that has begun is ignored.
function Runs.fail_late(work, name)
  local left, jobs = 0, {}
  if name == 'start_by' and work.started then
    return true, 0, 0
  elseif not is_run(work.id) then
    jobs = { work.id }
  elseif now >= (work.limit_at or math.huge) then
    jobs = Runs.live_jobs(work)
  end
  for _, id in ipairs(jobs) do
    -- Many may be looked at, so only those that are late are decoded.
    local json = left < Runs.ENDS and read_raw(id)
    local limit = json and field_of(json, name .. '":')
    local job = limit and now >= tonumber(limit) and read(id)
    if job and not job.status then
      Runs.leave(job, 'failed', S.failures[name])
      left = left + 1
    end
  end
  return (work.state == 'queued' or work.state == 'running') and not work.status, left, #jobs
end

-- Who may read a run's answer: its first job, unless its `holder` is '', and where others are `held` those of <run>:readers.

-- Readers that one call looks at, for those that are gone.
local SOME = 32

function Runs.add_reader(run, job)
  local key = P .. run.id .. ':readers'
  for _, gone in ipairs(call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, SOME)) do
    call('ZREM', key, gone)
  end
  call('ZADD', key, 'inf', job.id)
  run.held = 1
  local left_ms = run.ended and call('PTTL', P .. run.id) or -1
  if left_ms > 0 then
    call('PEXPIRE', key, left_ms, 'NX')
  end
end

-- A job lets go of a run; returns whether another one holds it.
function Runs.remove_reader(run, job)
  local key = P .. run.id .. ':readers'
  local holder = run.holder or run.job
  if holder == job.id then
    run.holder = ''
  else
    call('ZREM', key, job.id)
    if holder ~= '' and call('EXISTS', P .. holder) == 1 then
      return true
    end
  end
  -- Those whose records were lost are at its end.
  Jobs.cut(key, call('ZREVRANGE', key, 0, SOME - 1))
  return run.held and call('ZCOUNT', key, '(' .. now, 'inf') > 0
end
