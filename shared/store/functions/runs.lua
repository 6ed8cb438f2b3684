-- How long jobs and runs are kept after their end.

-- The retain_s of a job or run, where it has one, overrides both result_s and job_s.
function Runs.retention(id, seconds)
  return tonumber(call('HGET', P .. id, 'retain_s') or seconds)
end

-- Whether a job's webhook is still to be told something.
function Runs.untold(job)
  return call('EXISTS', P .. job .. ':began:own', P .. job .. ':ended:own') > 0
end

-- An unstored job outlives its end by its retain_s, whether its webhook was told or not, and so do its notices.
local function expire_unstored(job, record)
  local seconds = record.retain_s or a.job_s
  for _, suffix in ipairs({ '', ':attempts', ':asked', ':hook', ':deliveries', ':began', ':ended', ':began:own', ':ended:own' }) do
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
    call('EXPIRE', P .. job, seconds)
    if record.attempt then
      call('EXPIRE', P .. job .. ':attempts', seconds)
    end
    for _, suffix in ipairs(hooked and { ':hook', ':deliveries' } or {}) do
      call('EXPIRE', P .. job .. suffix, seconds)
    end
  end
end

-- deadlines: zset of the jobs that have not ended, by the Unix ms at which each is looked at next.

-- Which limit of a job has passed (start_by, finish_by), or nil and when to look again. A job that has begun, or names
-- no start_by, may wait in line for wait_ms from when its run was queued last, or from when it joined the run.
function Runs.passed(job)
  local start_by, finish_by, run, joined = unpack(call('HMGET', P .. job, 'start_by', 'finish_by', 'run', 'queued_at'))
  local state, started, queued_at = unpack(call('HMGET', P .. (run or job), 'state', 'started', 'queued_at'))
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
-- its stream gets one more event behind `last`. `answer` is what is told of its run, if read already.
function Runs.end_job(job, status, last, own, failure, answer)
  local key = P .. job
  local record = fields_at(key, Webhooks.JOB_TOLD)
  if not record.created or record.status then
    return
  end
  call('HSET', key, 'status', status, 'ended', now, 'last', last, 'own', own and 1 or 0)
  if failure then
    call('HSET', key, 'error', failure)
  end
  record.status, record.ended, record.error = status, string.format('%.0f', now), failure or nil
  answer = answer or Webhooks.answer_told(record)
  local hook = Webhooks.hook_of(job)
  Webhooks.announce(job, 'ended', status, record, hook, answer)
  if record.batch then
    Batches.answer_line(job, record, answer.result)
  end
  Metrics.report_end(job, record, answer)
  Runs.expire_job(job, record, hook.host)
  call('ZREM', P .. 'deadlines', job)
  wake(job, 'state')
end

-- Keeps everything of an ended run for result_s or the run's own retain_s, and its pictures no longer than that.
function Runs.expire_run(run)
  local own, blobs = unpack(call('HMGET', P .. run, 'retain_s', 'blobs'))
  local seconds = tonumber(own or a.result_s)
  for _, suffix in ipairs({ '', ':events', ':attempts', ':holders' }) do
    call('EXPIRE', P .. run .. suffix, seconds)
  end
  for digest in string.gmatch(blobs or '', '%S+') do
    Files.hold(digest, run, now + seconds * 1000)
  end
end

-- Ends a run and every job still subscribed to it, and tells the run's worker, unless the end is `known` there. Result
-- or error are written already.
function Runs.end_run(run, status, failure, known)
  local key = P .. run
  local state, lane, join, worker = unpack(call('HMGET', key, 'state', 'lane', 'join', 'worker'))
  unlease(run, lane)
  if state ~= 'running' then
    Queue.withdraw(run, lane)
    call('ZREM', P .. 'schedule', run)
  end
  call('HDEL', key, 'token', 'worker', 'unread')
  call('HSET', key, 'state', status, 'ended', now)
  if join and call('GET', P .. 'join:' .. join) == run then
    call('DEL', P .. 'join:' .. join)
  end
  Queue.close_attempt(run, status)
  local last, answer = Events.emit(run, status, failure or '{}'), fields_at(key, Webhooks.RUN_TOLD)
  for _, job in ipairs(call('SMEMBERS', key .. ':live')) do
    Runs.end_job(job, status, last, false, failure, answer)
  end
  call('DEL', key .. ':live')
  Runs.expire_run(run)
  if worker and not known then
    wake(worker, 'state')
  end
end

-- Takes a job out of intake or out of its schedule, and lets go of what it held.
local function leave_intake(job, outcome)
  local key = P .. job
  if call('HGET', key, 'state') == 'scheduled' then
    Queue.count_later(job, -1)
  end
  Queue.withdraw(job, 'intake')
  call('ZREM', P .. 'schedule', job)
  unlease(job, 'intake')
  Queue.close_attempt(job, outcome)
  -- For a retry, like the request below.
  local seconds = Runs.retention(job, a.result_s)
  for digest in string.gmatch(call('HGET', key, 'blobs') or '', '%S+') do
    Files.hold(digest, job, now + seconds * 1000)
  end
  local request, terms = unpack(call('HMGET', key, 'request', 'terms'))
  if request then
    call('HSET', key .. ':asked', 'request', request, 'terms', terms)
    call('EXPIRE', key .. ':asked', seconds)
  end
  call('HDEL', key, 'token', 'worker', 'request', 'terms')
end

-- Ends a piece of work that cannot go on: a run, or a job whose inputs are being fetched.
function Runs.fail_work(id, failure, known)
  if is_run(id) then
    call('HSET', P .. id, 'error', failure)
    Runs.end_run(id, 'failed', failure, known)
  else
    leave_intake(id, 'failed')
    Runs.end_job(id, 'failed', 0, true, failure)
  end
end

-- A run is as urgent as the most urgent job that still waits for it.
local function ease(run, left)
  local lane, class = unpack(call('HMGET', P .. run, 'lane', 'priority'))
  if left ~= class then
    return
  end
  local highest = 'batch'
  for _, job in ipairs(call('SMEMBERS', P .. run .. ':live')) do
    local other = call('HGET', P .. job, 'priority')
    highest = Queue.rank(other) < Queue.rank(highest) and other or highest
  end
  if highest ~= class then
    Queue.reclass(run, lane, highest)
  end
end

-- Takes a job out of its run, which the last job to leave ends. A job that has ended stays as it is.
function Runs.leave(job, status, failure)
  local key = P .. job
  if call('HEXISTS', key, 'status') == 1 then
    return
  end
  local run = call('HGET', key, 'run')
  if not run then
    leave_intake(job, status)
    Runs.end_job(job, status, 0, true, failure)
    return
  end
  -- The job's own end comes behind the run's last event.
  Events.leap(run)
  Runs.end_job(job, status, tonumber(call('HGET', P .. run, 'seq')), true, failure)
  call('SREM', P .. run .. ':live', job)
  wake(run, 'state')
  if call('SCARD', P .. run .. ':live') == 0 then
    Runs.end_run(run, 'cancelled', nil)
  else
    ease(run, call('HGET', key, 'priority'))
  end
end

-- Ends jobs whose time has passed when their work moves on; `failures` are the errors (JSON) of those that had not
-- begun (start_by) or ended (finish_by) in time.

-- Fails the late jobs of a run, or a late job without one. Returns false where no job is left, and how many were late.
-- The start_by of work that has begun is ignored.
function Runs.leave_late(id, name)
  if name == 'start_by' and call('HEXISTS', P .. id, 'started') == 1 then
    return true, 0
  end
  local left = 0
  local jobs = is_run(id) and call('SMEMBERS', P .. id .. ':live') or { id }
  for _, job in ipairs(jobs) do
    local limit = tonumber(call('HGET', P .. job, name) or math.huge)
    if now >= limit and call('HEXISTS', P .. job, 'status') == 0 then
      Runs.leave(job, 'failed', a.failures[name])
      left = left + 1
    end
  end
  local state, status = unpack(call('HMGET', P .. id, 'state', 'status'))
  return (state == 'queued' or state == 'running') and not status, left
end
