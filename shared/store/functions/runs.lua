-- How long jobs and runs are kept after their end.

-- The retain_s of a job or run, where it has one, overrides both result_s and job_s.
function Runs.retention(id, seconds)
  return tonumber(get(id, 'retain_s') or seconds)
end

-- Whether a job's webhook is still to be told something.
function Runs.untold(job)
  return call('EXISTS', P .. job .. ':began:own', P .. job .. ':ended:own') > 0
end

-- An unstored job outlives its end by its retain_s, whether its webhook was told or not, and so do its notices.
local function expire_unstored(job, record)
  local seconds = record.retain_s or a.job_s
  if call('TTL', P .. job) < 0 then
    expire(job, seconds)
  end
  for _, suffix in ipairs({ ':asked', ':hook', ':deliveries', ':began', ':ended', ':began:own', ':ended:own' }) do
    call('EXPIRE', P .. job .. suffix, seconds, 'NX')
  end
  if record.idem then
    call('EXPIRE', P .. 'idem:' .. record.caller .. ':' .. record.idem, seconds, 'LT')
  end
end

-- An ended job (`record` is what is told of it) is kept until its webhook was told, and then for job_s.
function Runs.expire_job(job, record, hooked)
  if record.unstored then
    expire_unstored(job, record)
  elseif not (hooked and Runs.untold(job)) then
    local seconds = record.retain_s or a.job_s
    expire(job, seconds)
    for _, suffix in ipairs(hooked and { ':hook', ':deliveries' } or {}) do
      call('EXPIRE', P .. job .. suffix, seconds)
    end
  end
end

-- deadlines: zset of the jobs that have not ended, by the Unix ms at which each is looked at next.

-- Which limit of a job has passed (start_by, finish_by), or nil and when to look again. A job that has begun, or names
-- no start_by, may wait in line for wait_ms from when its run was queued last, or from when it joined the run.
function Runs.passed(job)
  local start_by, finish_by, run, joined = fields(job, 'start_by', 'finish_by', 'run', 'queued_at')
  local state, started, queued_at = fields(run or job, 'state', 'started', 'queued_at')
  local to_finish = tonumber(finish_by or math.huge)
  local to_start = now + a.wait_ms
  if start_by and not (run and started) then
    to_start = tonumber(start_by)
  elseif state == 'queued' then
    to_start = math.max(queued_at, joined or 0) + a.wait_ms
  end
  if now >= to_finish then
    return 'finish_by'
  end
  return now >= to_start and 'start_by' or nil, math.min(to_start, to_finish)
end

function Runs.look_later(job)
  local _, at = Runs.passed(job)
  call('ZADD', P .. 'deadlines', string.format('%.0f', at or now), job)
end

-- A job ends once, by its run's end or by its own; a run ends once.

local function report_end(job, own)
  local answer = Webhooks.answer_told(own)
  -- Copied as written. Inside a text a quote has a backslash before it, so the pattern matches no text.
  Metrics.report_end(job, own, own.run and record(own.run), answer and string.match(answer, '"usage":(%b{})'))
end

-- Writes a job's end. `last` is the newest run event that the job's stream replays; own = the job ended by itself, and
-- its stream gets one more event behind `last`. Returns how many targets are told of it, one at least.
function Runs.end_job(job, status, last, own, failure, at)
  local record = record(job)
  if not record or record.status then
    return 1
  end
  put(job, 'status', status, 'ended', at or now, 'last', last, 'own', own and 1 or 0, 'error', failure)
  local hook = Webhooks.hook_of(job)
  local told = Webhooks.announce(job, 'ended', status, record, hook)
  if record.batch then
    Batches.answer_line(job, record)
  end
  report_end(job, record)
  Memory.hold(job, Memory.of_job(job))
  Runs.expire_job(job, record, hook.host)
  call('ZREM', P .. 'deadlines', job)
  wake(job, 'state')
  return 1 + told
end

-- The end of a run is the end of all its jobs. That of its opener is written with it; those of the jobs that joined it are
-- read through the run until they are written, in pieces: ending, a list, has the runs whose jobs are still to be ended,
-- and as <run>:began, a set of jobs, those whose beginning is still to be told.

-- The error of a job whose run is gone.
Runs.LOST = '{"code":"internal_error","message":"The job\'s run was lost; submit it again.","param":null,"retryable":true}'

-- Jobs and targets told that one call may end beside openers.
local PIECE = 32

-- Whether a job's end is its run's, and still to be written.
function Runs.is_ending(job)
  local run = not get(job, 'status') and get(job, 'run')
  return run and record(run) and get(run, 'ended') and true or false
end

-- Writes the end of a job whose run has ended.
function Runs.catch_up(job)
  local run = get(job, 'run')
  Runs.quit(run, job)
  if call('SREM', P .. run .. ':began', job) == 1 then
    Webhooks.announce_beginning(job)
  end
  local status, last, failure, ended = fields(run, 'state', 'end_id', 'error', 'ended')
  return Runs.end_job(job, status, last, false, failure, ended)
end

-- Ends jobs that joined a run until `budget` is spent; returns what is left of it, and whether all have ended.
function Runs.end_joined(run, budget)
  while budget > 0 do
    local job = call('SRANDMEMBER', P .. run .. ':live')
    if not job then
      if record(run) then
        remove(run, 'joined')
      end
      return budget, true
    end
    if record(job) and record(run) then
      budget = budget - Runs.catch_up(job)
    else
      call('SREM', P .. run .. ':live', job)
      budget = budget - Runs.end_job(job, 'failed', 0, true, Runs.LOST)
    end
  end
  return budget, false
end

-- Keeps everything of an ended run for result_s or the run's own retain_s, and its pictures no longer than that.
function Runs.expire_run(run)
  local own, blobs = fields(run, 'retain_s', 'blobs')
  local seconds = tonumber(own or a.result_s)
  expire(run, seconds)
  if get(run, 'streamed') then
    call('EXPIRE', P .. run .. ':events', seconds)
  end
  if get(run, 'held') then
    call('EXPIRE', P .. run .. ':holders', seconds)
  end
  for digest in string.gmatch(blobs or '', '%S+') do
    Files.hold(digest, run, now + seconds * 1000)
  end
end

-- A run holds what it came to, and needs no room any more.
local function settle_memory(run)
  local bytes = Memory.RUN_BYTES + get(run, 'size') + (get(run, 'wrote') or 0)
  for _, name in ipairs({ 'result', 'bare', 'origin' }) do
    bytes = bytes + #(get(run, name) or '')
  end
  Memory.give_back_room(run)
  Memory.hold(run, bytes)
end

-- Ends a run and every job still subscribed to it, and tells the run's worker, unless the end is `known` there. Result
-- or error are written already.
function Runs.end_run(run, status, failure, known)
  local state, lane, join, worker = fields(run, 'state', 'lane', 'join', 'worker')
  unlease(run, lane)
  if state ~= 'running' then
    Queue.withdraw(run, lane)
    call('ZREM', P .. 'schedule', run)
  end
  remove(run, 'token', 'worker', 'unread')
  put(run, 'state', status, 'ended', now)
  settle_memory(run)
  if join and call('GET', P .. 'join:' .. join) == run then
    call('DEL', P .. 'join:' .. join)
  end
  Queue.close_attempt(run, status)
  local last = Events.number(run, status)
  put(run, 'end_id', last, 'error', failure)
  if get(run, 'opener') then
    Runs.end_job(get(run, 'opener'), status, last, false, failure)
    remove(run, 'opener')
  end
  if get(run, 'joined') then
    local all
    memo.piece, all = Runs.end_joined(run, memo.piece or PIECE)
    if not all then
      call('RPUSH', P .. 'ending', run)
    end
  end
  Runs.expire_run(run)
  if worker and not known then
    wake(worker, 'state')
  end
end

-- Takes a job out of intake or out of its schedule, and lets go of what it held.
local function leave_intake(job, outcome)
  if get(job, 'state') == 'scheduled' then
    Queue.count_later(job, -1)
  end
  Memory.give_back_room(job)
  Queue.withdraw(job, 'intake')
  call('ZREM', P .. 'schedule', job)
  unlease(job, 'intake')
  Queue.close_attempt(job, outcome)
  -- For a retry, like the request below.
  local seconds = Runs.retention(job, a.result_s)
  for digest in string.gmatch(get(job, 'blobs') or '', '%S+') do
    Files.hold(digest, job, now + seconds * 1000)
  end
  local request, terms = fields(job, 'request', 'terms')
  if request then
    call('HSET', P .. job .. ':asked', 'request', request, 'terms', terms)
    call('EXPIRE', P .. job .. ':asked', seconds)
  end
  remove(job, 'token', 'worker', 'request', 'terms')
end

-- Ends a piece of work that cannot go on: a run, or a job whose inputs are being fetched.
function Runs.fail_work(id, failure, known)
  if is_run(id) then
    put(id, 'error', failure)
    Runs.end_run(id, 'failed', failure, known)
  else
    leave_intake(id, 'failed')
    Runs.end_job(id, 'failed', 0, true, failure)
  end
end

-- The jobs that a run is for: `opener`, until it leaves, and where jobs `joined` it those of <run>:live, a set.
function Runs.live_jobs(run)
  local jobs = get(run, 'joined') and call('SMEMBERS', P .. run .. ':live') or {}
  table.insert(jobs, get(run, 'opener'))
  return jobs
end

function Runs.live_count(run)
  return (get(run, 'opener') and 1 or 0) + (get(run, 'joined') and call('SCARD', P .. run .. ':live') or 0)
end

function Runs.quit(run, job)
  if get(run, 'opener') == job then
    remove(run, 'opener')
  else
    call('SREM', P .. run .. ':live', job)
  end
end

-- A run is as urgent as the most urgent job that still waits for it.
local function ease(run, left)
  local lane, class = fields(run, 'lane', 'priority')
  if left ~= class then
    return
  end
  local highest = 'batch'
  for _, job in ipairs(Runs.live_jobs(run)) do
    local other = get(job, 'priority')
    highest = Queue.rank(other) < Queue.rank(highest) and other or highest
  end
  if highest ~= class then
    Queue.reclass(run, lane, highest)
  end
end

-- Takes a job out of its run, which the last job to leave ends. A job that has ended stays as it is.
function Runs.leave(job, status, failure)
  if get(job, 'status') then
    return
  end
  local run = get(job, 'run')
  if Runs.is_ending(job) then
    Runs.catch_up(job)
    return
  end
  if not run then
    leave_intake(job, status)
    Runs.end_job(job, status, 0, true, failure)
    return
  end
  if not record(run) then
    Runs.end_job(job, status, 0, true, failure)
    return
  end
  -- The job's own end comes behind the run's last event.
  Events.leap(run)
  Runs.end_job(job, status, tonumber(get(run, 'seq')), true, failure)
  Runs.quit(run, job)
  wake(run, 'state')
  if Runs.live_count(run) == 0 then
    Runs.end_run(run, 'cancelled', nil)
  else
    ease(run, get(job, 'priority'))
  end
end

-- Ends jobs whose time has passed when their work moves on; `failures` are the errors (JSON) of those that had not
-- begun (start_by) or ended (finish_by) in time.

-- Fails the late jobs of a run, or a late job without one. Returns false where no job is left, and how many were late.
-- The start_by of work that has begun is ignored.
function Runs.leave_late(id, name)
  if name == 'start_by' and get(id, 'started') then
    return true, 0
  end
  local left = 0
  local jobs = { id }
  if is_run(id) then
    jobs = get(id, 'timed') and Runs.live_jobs(id) or {}
  end
  for _, job in ipairs(jobs) do
    local limit = tonumber(get(job, name) or math.huge)
    if now >= limit and not get(job, 'status') then
      Runs.leave(job, 'failed', a.failures[name])
      left = left + 1
    end
  end
  local state, status = fields(id, 'state', 'status')
  return (state == 'queued' or state == 'running') and not status, left
end

-- Tells jobs of <run>:began that their run has begun; returns as end_joined.
local function begin_joined(run, budget)
  while budget > 0 do
    local job = call('SRANDMEMBER', P .. run .. ':began')
    if not job then
      return budget, true
    end
    call('SREM', P .. run .. ':began', job)
    budget = budget - 1 - Webhooks.announce_beginning(job)
  end
  return budget, false
end

-- Tells all jobs of a run that it has begun.
function Runs.announce_beginning(run)
  if get(run, 'opener') then
    Webhooks.announce_beginning(get(run, 'opener'))
  end
  if get(run, 'joined') then
    call('SUNIONSTORE', P .. run .. ':began', P .. run .. ':live')
    local _, all = begin_joined(run, PIECE)
    if not all then
      call('RPUSH', P .. 'ending', run .. ':began')
    end
  end
end

-- Goes on with the ends of jobs that joined a run, and with telling that it has begun.
--   a      budget (jobs and targets told), result_s, job_s, event_s, max_events
--   writes ending list, <run>:live and <run>:began sets, <job> hash, and what the helpers here write
--   returns how many runs are left in the list
--   repeat harmless
transition('finish', { 'allow-oom' }, function()
  local budget = a.budget
  while budget > 0 do
    local entry = call('LINDEX', P .. 'ending', 0)
    if not entry then
      return 0
    end
    local run, all = string.match(entry, '^[^:]+'), nil
    if run == entry then
      budget, all = Runs.end_joined(run, budget)
    else
      budget, all = begin_joined(run, budget)
    end
    if all then
      call('LPOP', P .. 'ending')
    end
  end
  return call('LLEN', P .. 'ending')
end)
