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

-- Writes a job's end. `last` is the newest run event that the job's stream replays; own = the job ended by itself, and
-- its stream gets one more event behind `last`.
function Runs.end_job(job, status, last, own, failure)
  local record = record(job)
  if not record or record.status then
    return
  end
  put(job, 'status', status, 'ended', now, 'last', last, 'own', own and 1 or 0, 'error', failure)
  local hook = Webhooks.hook_of(job)
  Webhooks.announce(job, 'ended', status, record, hook)
  if record.batch then
    Batches.answer_line(job, record)
  end
  Metrics.report_end(job, record)
  Runs.expire_job(job, record, hook.host)
  call('ZREM', P .. 'deadlines', job)
  wake(job, 'state')
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
  if join and call('GET', P .. 'join:' .. join) == run then
    call('DEL', P .. 'join:' .. join)
  end
  Queue.close_attempt(run, status)
  local last = Events.number(run, status)
  put(run, 'end_id', last, 'error', failure)
  for _, job in ipairs(Runs.live_jobs(run)) do
    Runs.end_job(job, status, last, false, failure)
  end
  if get(run, 'joined') then
    call('DEL', P .. run .. ':live')
  end
  remove(run, 'opener', 'joined')
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
  if not run then
    leave_intake(job, status)
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
  local jobs = is_run(id) and Runs.live_jobs(id) or { id }
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
