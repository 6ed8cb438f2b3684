-- A job ends once, by its run's end or by its own; a run ends once.
-- @include blobs
-- @include events
-- @include hooks
-- @include keeping
-- @include lines
-- @include queue
-- @include reports

-- Writes a job's end. `last` is the newest run event that the job's stream replays; own = the job ended by itself, and
-- its stream gets one more event behind `last`. `answer` is what is told of its run, if read already.
local function end_job(job, status, last, own, failure, answer)
  local key = P .. job
  local record = fields_at(key, JOB_TOLD)
  if not record.created or record.status then
    return
  end
  redis.call('HSET', key, 'status', status, 'ended', now, 'last', last, 'own', own and 1 or 0)
  if failure then
    redis.call('HSET', key, 'error', failure)
  end
  record.status, record.ended, record.error = status, string.format('%.0f', now), failure or nil
  answer = answer or answer_told(record)
  local hook = hook_of(job)
  announce(job, 'ended', status, record, hook, answer)
  if record.batch then
    answer_line(job, record, answer.result)
  end
  report_end(job, record, answer)
  expire_job(job, record, hook.host)
  redis.call('ZREM', P .. 'deadlines', job)
  wake(job, 'state')
end

-- Keeps everything of an ended run for result_s or the run's own retain_s, and its pictures no longer than that.
local function expire_run(run)
  local own, blobs = unpack(redis.call('HMGET', P .. run, 'retain_s', 'blobs'))
  local seconds = tonumber(own or a.result_s)
  for _, suffix in ipairs({ '', ':events', ':attempts', ':holders' }) do
    redis.call('EXPIRE', P .. run .. suffix, seconds)
  end
  for digest in string.gmatch(blobs or '', '%S+') do
    hold(digest, run, now + seconds * 1000)
  end
end

-- Ends a run and every job still subscribed to it, and tells the run's worker, unless the end is `known` there. Result
-- or error are written already.
local function end_run(run, status, failure, known)
  local key = P .. run
  local state, lane, join, worker = unpack(redis.call('HMGET', key, 'state', 'lane', 'join', 'worker'))
  unlease(run, lane)
  if state ~= 'running' then
    withdraw(run, lane)
    redis.call('ZREM', P .. 'schedule', run)
  end
  redis.call('HDEL', key, 'token', 'worker', 'unread')
  redis.call('HSET', key, 'state', status, 'ended', now)
  if join and redis.call('GET', P .. 'join:' .. join) == run then
    redis.call('DEL', P .. 'join:' .. join)
  end
  close_attempt(run, status)
  local last, answer = emit(run, status, failure or '{}'), fields_at(key, RUN_TOLD)
  for _, job in ipairs(redis.call('SMEMBERS', key .. ':live')) do
    end_job(job, status, last, false, failure, answer)
  end
  redis.call('DEL', key .. ':live')
  expire_run(run)
  if worker and not known then
    wake(worker, 'state')
  end
end

-- Takes a job out of intake or out of its schedule, and lets go of what it held.
local function leave_intake(job, outcome)
  local key = P .. job
  if redis.call('HGET', key, 'state') == 'scheduled' then
    count_later(job, -1)
  end
  withdraw(job, 'intake')
  redis.call('ZREM', P .. 'schedule', job)
  unlease(job, 'intake')
  close_attempt(job, outcome)
  -- For a retry, like the request below.
  local seconds = retention(job, a.result_s)
  for digest in string.gmatch(redis.call('HGET', key, 'blobs') or '', '%S+') do
    hold(digest, job, now + seconds * 1000)
  end
  local request, terms = unpack(redis.call('HMGET', key, 'request', 'terms'))
  if request then
    redis.call('HSET', key .. ':asked', 'request', request, 'terms', terms)
    redis.call('EXPIRE', key .. ':asked', seconds)
  end
  redis.call('HDEL', key, 'token', 'worker', 'request', 'terms')
end

-- Ends a piece of work that cannot go on: a run, or a job whose inputs are being fetched.
local function fail_work(id, failure, known)
  if is_run(id) then
    redis.call('HSET', P .. id, 'error', failure)
    end_run(id, 'failed', failure, known)
  else
    leave_intake(id, 'failed')
    end_job(id, 'failed', 0, true, failure)
  end
end

-- A run is as urgent as the most urgent job that still waits for it.
local function ease(run, left)
  local lane, class = unpack(redis.call('HMGET', P .. run, 'lane', 'priority'))
  if left ~= class then
    return
  end
  local highest = 'batch'
  for _, job in ipairs(redis.call('SMEMBERS', P .. run .. ':live')) do
    local other = redis.call('HGET', P .. job, 'priority')
    highest = rank(other) < rank(highest) and other or highest
  end
  if highest ~= class then
    reclass(run, lane, highest)
  end
end

-- Takes a job out of its run, which the last job to leave ends. A job that has ended stays as it is.
local function leave(job, status, failure)
  local key = P .. job
  if redis.call('HEXISTS', key, 'status') == 1 then
    return
  end
  local run = redis.call('HGET', key, 'run')
  if not run then
    leave_intake(job, status)
    end_job(job, status, 0, true, failure)
    return
  end
  -- The job's own end comes behind the run's last event.
  leap(run)
  end_job(job, status, tonumber(redis.call('HGET', P .. run, 'seq')), true, failure)
  redis.call('SREM', P .. run .. ':live', job)
  wake(run, 'state')
  if redis.call('SCARD', P .. run .. ':live') == 0 then
    end_run(run, 'cancelled', nil)
  else
    ease(run, redis.call('HGET', key, 'priority'))
  end
end
