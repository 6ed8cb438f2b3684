-- What the audit found, and how often.

-- Of a long list only the oldest entries are looked at: strays end up there.
local OLDEST = 100

local function found(what)
  memo.findings[what] = (memo.findings[what] or 0) + 1
end

local function gone(id)
  return call('EXISTS', P .. id) == 0
end

-- What no history of a batch should leave.

-- Answers lines whose job is gone, or was ended by an older release that told no batch: they would wait for ever.
local function answer_lost_lines(batch)
  local key = P .. batch
  local lines = call('HGETALL', key .. ':lines')
  for i = 1, #lines, 2 do
    local line = cjson.decode(lines[i + 1])
    local job = call('HEXISTS', key .. ':answers', lines[i]) == 0 and line.job
    local record = job and record(job) or {}
    if record.status then
      found('line_unanswered')
      Batches.answer_line(job, record)
    elseif job and gone(job) then
      found('line_without_job')
      call('HSET', key .. ':answers', lines[i], cjson.encode({ status = 'failed', ended = now, error = Runs.LOST }))
    end
  end
end

local ENDED_STAGES = { completed = 1, failed = 1, expired = 1, cancelled = 1 }

local function look_at_batch(batch)
  local stage, kept_s = unpack(call('HMGET', P .. batch, 'stage', 'kept_s'))
  if ENDED_STAGES[stage] then
    if call('TTL', P .. batch) == -1 then
      found('undying_batch')
      call('EXPIRE', P .. batch, kept_s)
    end
  else
    answer_lost_lines(batch)
    if not call('ZSCORE', P .. 'batching', batch) then
      found('batch_nowhere')
      call('ZADD', P .. 'batching', now, batch)
    end
  end
end

-- Lines whose jobs are gone, or ended without telling the batch, make room for others.
local function look_at_taken(name)
  local jobs = redis.pcall('SMEMBERS', P .. name)
  if jobs.err then
    -- Older releases kept a number here, which nobody can put right.
    call('DEL', P .. name)
    return
  end
  for _, job in ipairs(jobs) do
    local caller, status = fields(job, 'caller', 'status')
    if status or not caller then
      found('line_outlived_job')
      call('SREM', P .. name, job)
    end
  end
end

-- What no history of webhooks' calls and endpoints should leave.

-- A notice lives as long as calls of it are to be made, or as long as the log keeps it.
local function look_at_notice(notice)
  if call('TTL', P .. notice) == -1 and not Notices.has_calls(notice) then
    found('undying_notice')
    Notices.keep_notice(notice)
  end
end

-- A webhook's call that waits for no courier would never be made.
local function look_at_call(delivery, notice)
  local caller, host = Webhooks.place_of(delivery)
  if gone(notice) then
    found('key_without_owner')
    Webhooks.drop_call(delivery)
  elseif not call('ZSCORE', P .. 'calls:' .. caller .. ':' .. host, delivery)
    and not call('ZSCORE', P .. 'calling:' .. caller .. ':' .. host, delivery) then
    found('call_nowhere')
    call('HDEL', P .. delivery, 'token')
    Webhooks.await_turn(delivery, caller, host, now)
    Webhooks.look_now(caller, host)
  end
end

-- Whether a call of a job's own webhook expired with the job's record; that of an unstored job does (runs.lua).
local function is_over(delivery)
  local notice, job = string.match(delivery, '^((.+):%l+):own$')
  return notice and gone(notice) and (gone(job) or get(job, 'unstored'))
end

-- Takes out calls whose records are gone.
local function drop_gone_calls(name, last)
  for _, delivery in ipairs(call('ZRANGE', P .. name, 0, last)) do
    if gone(delivery) then
      call('ZREM', P .. name, delivery)
      if not is_over(delivery) then
        found('call_of_nobody')
      end
    end
  end
end

-- The calls of a host that wait, or those under way.
local function look_at_calls(name, caller, host)
  drop_gone_calls(name, OLDEST - 1)
  if not gone(name) and not (call('ZSCORE', P .. 'hosts:' .. caller, host)
    and call('ZSCORE', P .. 'callers', caller)) then
    found('host_without_turn')
    Webhooks.look_now(caller, host)
  end
end

local function look_at_busy(name)
  drop_gone_calls(name, -1)
end

local function ended(id)
  local status, state = fields(id, 'status', 'state')
  return status or state == 'succeeded' or state == 'failed' or state == 'cancelled'
end

-- Whether work stands where its state says: in the lease, in the schedule, or in queue:<lane> and a line besides.
local function stands(id, lane, state)
  if state == 'running' then
    return call('ZSCORE', P .. 'lease', id)
  end
  if state == 'retrying' or state == 'scheduled' then
    return call('ZSCORE', P .. 'schedule', id)
  end
  local class, caller = fields(id, 'priority', 'caller')
  local in_line = call('ZSCORE', Queue.line_key(lane, class, caller), id)
    and call('ZSCORE', Queue.turns_key(lane, class), caller)
  return call('ZSCORE', P .. 'queue:' .. lane, id)
    and (in_line or call('ZSCORE', P .. 'suspects:' .. lane, id))
end

-- A record that names no lane is nothing that any function wrote; who looks for it finds it gone.
local function drop_half(id)
  found('half_a_record')
  delete(id)
end

local function put_back(id)
  local lane, state = fields(id, 'lane', 'state')
  if not lane then
    return drop_half(id)
  elseif stands(id, lane, state) then
    return
  end
  found('work_nowhere')
  if state == 'running' then
    -- A worker that holds it goes on renewing the lease; otherwise rescue takes the work.
    call('ZADD', P .. 'lease', now + a.lease_ms, id)
  elseif state == 'queued' then
    Queue.withdraw(id, lane)
    Queue.stand(id, lane)
  else
    call('ZADD', P .. 'schedule', now, id)
  end
end

-- Jobs whose records are gone wait for nothing.
local function drop_gone(run)
  for _, job in ipairs(Runs.live_jobs(run)) do
    if gone(job) then
      Runs.quit(run, job)
    end
  end
end

local function look_at_run(run)
  if not get(run, 'lane') then
    return drop_half(run)
  end
  drop_gone(run)
  if ended(run) then
    if get(run, 'joined') and not call('LPOS', P .. 'ending', run) then
      found('end_forgotten')
      call('RPUSH', P .. 'ending', run)
    end
    if call('TTL', P .. run) == -1 then
      found('undying_run')
      Runs.expire_run(run)
    end
  elseif Runs.live_count(run) == 0 then
    found('run_for_nobody')
    Runs.end_run(run, 'cancelled', nil)
  else
    put_back(run)
  end
end

-- A job whose run is gone or has ended without it.
local function rejoin(job, run)
  if gone(run) then
    found('job_without_run')
    Runs.end_job(job, 'failed', 0, true, Runs.LOST)
  elseif ended(run) then
    if call('SISMEMBER', P .. run .. ':live', job) == 0 then
      found('job_outlived_run')
      Runs.catch_up(job)
    end
  elseif get(run, 'opener') ~= job and call('SADD', P .. run .. ':live', job) == 1 then
    put(run, 'joined', 1)
    found('job_unknown_to_run')
  end
end

local function look_at_job(job)
  if ended(job) then
    if call('TTL', P .. job) == -1 and not Runs.untold(job) then
      found('undying_job')
      Runs.expire_job(job, record(job), true)
    end
    return
  end
  local run = get(job, 'run')
  if run then
    rejoin(job, run)
  else
    put_back(job)
  end
  if not gone(job) and not ended(job) and not call('ZSCORE', P .. 'deadlines', job) then
    found('job_without_deadline')
    Runs.look_later(job)
  end
end

-- The lists and streams beside a record go when it goes.
local function look_beside(name, owner)
  if gone(owner) then
    found('key_without_owner')
    call('DEL', P .. name)
  elseif call('TTL', P .. name) == -1 and call('TTL', P .. owner) ~= -1 and not string.find(name, ':live$') then
    found('undying_key')
    call('PEXPIRE', P .. name, call('PTTL', P .. owner))
  end
  if name == owner .. ':holders' then
    Files.forget_gone(owner, call('SRANDMEMBER', P .. name, OLDEST))
  end
end

local function look_at_pointer(name)
  local run = call('GET', P .. name)
  if run and gone(run) or string.sub(name, 1, 5) == 'join:' and ended(run) then
    found('pointer_to_nothing')
    call('DEL', P .. name)
  end
end

local function look_at_blob(digest)
  local key = P .. 'blob:' .. digest
  for _, holder in ipairs(call('ZRANDMEMBER', key, OLDEST)) do
    if call('ZSCORE', key, holder) == 'inf' and (gone(holder) or ended(holder)) then
      found('blob_held_by_nobody')
      Files.release(digest, holder)
    end
  end
end

-- Takes members out of a set of claimed work that no lease covers.
local function look_at_claimed(name)
  for _, id in ipairs(call('SMEMBERS', P .. name)) do
    if not call('ZSCORE', P .. 'lease', id) then
      found('claimed_without_lease')
      call('SREM', P .. name, id)
    end
  end
end

-- Counts anew what the members of sets take beyond one row each. Of a long line only the oldest are looked at: their
-- rows are the least that must be counted.
local function look_at_extra()
  for _, set in ipairs(call('HKEYS', P .. 'extra')) do
    local line = string.sub(set, 1, 6) == 'queue:'
    local ids = line and call('ZRANGE', P .. set, 0, OLDEST) or call('SMEMBERS', P .. set)
    local counted, more = extra_rows(set), 0
    for _, id in ipairs(ids) do
      more = more + tonumber(get(id, 'rows') or 1) - 1
    end
    if counted < more or counted > more and #ids <= OLDEST then
      found('rows_miscounted')
      call('HDEL', P .. 'extra', set)
      if more > 0 then
        call('HSET', P .. 'extra', set, more)
      end
    end
  end
end

local function look_at_line(lane)
  for _, id in ipairs(call('ZRANGE', P .. 'queue:' .. lane, 0, OLDEST - 1)) do
    if get(id, 'state') ~= 'queued' then
      found('stray_in_line')
      Queue.withdraw(id, lane)
    end
  end
end

-- A line or the suspects of a lane: entries that do not wait there go.
local function look_at_entries(name)
  for _, id in ipairs(call('ZRANGE', P .. name, 0, OLDEST - 1)) do
    if get(id, 'state') ~= 'queued' then
      found('stray_in_line')
      call('ZREM', P .. name, id)
    end
  end
end

local function look_at_turns(name, lane, class)
  for _, caller in ipairs(call('ZRANGE', P .. name, 0, OLDEST - 1)) do
    if call('EXISTS', Queue.line_key(lane, class, caller)) == 0 then
      found('turn_without_line')
      call('ZREM', P .. name, caller)
    end
  end
end

-- What is remembered of turns goes where nobody waits.
local function look_at_memory(name, lane)
  if call('EXISTS', P .. 'queue:' .. lane) == 0 then
    found('key_without_owner')
    call('DEL', P .. name)
  end
end

-- A caller's list names records for as long as they may live; it forgets those that are gone.
local function look_at_list(name)
  for _, job in ipairs(call('ZRANGE', P .. name, 0, OLDEST - 1)) do
    if gone(job) then
      call('ZREM', P .. name, job)
    end
  end
end

-- Keys of these kinds have a time to live, or there is only one of them, which stays.
local LASTING = { claim = 1, idem = 1, cache = 1, prints = 1, ready = 1, loading = 1, lane = 1, emptying = 1,
  ending = 1, reserved = 1, aside = 1, bad = 1,
  purged = 1, doomed = 1, later = 1, arrivals = 1, lanes = 1, paused = 1, models = 1, draining = 1, removed = 1,
  removing = 1, generations = 1, leader = 1, lease = 1, schedule = 1, deadlines = 1, watched = 1, spared = 1, gap = 1,
  callers = 1, audit = 1, dirty = 1, key = 1, keyof = 1, keys = 1, rate = 1, worker = 1, hosts = 1,
  holdings = 1, notices = 1, endpoints = 1, batching = 1, batchers = 1, extra = 1, deeds = 1, counts = 1,
  counted = 1, ended = 1, reading = 1 }

local NOTICES = { began = 1, ended = 1, sent = 1 }

-- Looks at some keys for what no history should leave, and mends it: work that stands in no line or that nobody
-- wants, pointers to what is gone, keys without an owner or an end.
--   a      names (keys without their prefix), lease_ms, wait_ms, result_s, job_s, event_s, max_events
--   writes whatever it mends
--   returns {a flat list: finding, count, …; the beginnings of keys that this version does not know, each once}
--   events those of the ends that it makes up for
transition('audit', { 'allow-oom' }, function()
  memo.findings = {}
  -- Beginnings of keys that this version does not know: another version, which writes more, worked on these records.
  local strangers = {}

  local function look(name)
    local kind, rest = string.match(name, '^(%l+):(.+)$')
    local lane, class = string.match(rest or '', '^([^:]+):?(%l*)')
    local id, beside = string.match(name, '^(%l+_%x+):(%l+)$')
    local notice = string.match(name, '^(%l+_%x+:%l+):[%w_]+$')
    if beside and NOTICES[beside] then
      look_at_notice(name)
    elseif beside then
      look_beside(name, id)
    elseif notice then
      look_at_call(name, notice)
    elseif string.find(name, '^run_%x+$') then
      look_at_run(name)
    elseif string.find(name, '^job_%x+$') then
      look_at_job(name)
    elseif kind == 'join' or kind == 'cache' then
      look_at_pointer(name)
    elseif kind == 'blob' then
      look_at_blob(rest)
    elseif kind == 'running' or kind == 'held' then
      look_at_claimed(name)
    elseif name == 'extra' then
      look_at_extra()
    elseif (kind or name) == 'taken' then
      look_at_taken(name)
    elseif kind == 'queue' then
      look_at_line(rest)
    elseif kind == 'line' or kind == 'suspects' then
      look_at_entries(name)
    elseif kind == 'turns' then
      look_at_turns(name, lane, class)
    elseif kind == 'spent' or kind == 'clock' then
      look_at_memory(name, lane)
    elseif kind == 'calls' or kind == 'calling' then
      look_at_calls(name, string.match(rest, '^([^:]+):(.+)$'))
    elseif kind == 'busy' then
      look_at_busy(name)
    elseif string.find(name, '^batch_%x+$') then
      look_at_batch(name)
    elseif kind == 'jobs' or kind == 'pair' or kind == 'files' or kind == 'batches' then
      look_at_list(name)
    elseif not (LASTING[kind or name] or string.find(name, '^file%-%x+$')
      or string.find(name, '^wh_%x+$')) then
      strangers[string.match(name, '^%l*')] = true
    end
  end

  each(a.names, function(name)
    if not gone(name) then
      look(name)
    end
  end)
  local flat = {}
  for what, count in pairs(memo.findings) do
    call('HINCRBY', P .. 'audit', what, count)
    table.insert(flat, what)
    table.insert(flat, count)
  end
  local strange = {}
  for beginning in pairs(strangers) do
    table.insert(strange, beginning)
  end
  return { flat, strange }
end)

-- Reads which records were set aside because they could not be read.
--   a       nothing
--   returns ids and reasons, a flat list
transition('bad', { 'no-writes' }, function()
  return call('HGETALL', P .. 'bad')
end)
