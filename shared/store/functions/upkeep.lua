-- What leads, watches and mends: outages, leases that ran out, deadlines, and a clock that was set back.
--   upkeep  hash    watched (the last beat or pass), from and till (of the last gap: workers alive when it began count as alive
--                   until then), grace_till (until when leases are not taken back), folded (memory.lua)
--   leader  string  the courier that leads
--   later   zset    work that waits for its time: scheduled jobs, runs between two attempts

-- A clock set back by less than this needs no mending.
local STEP_MS = 1000

local function state()
  if not memo.upkeep then
    local marks = call('HMGET', P .. 'upkeep', 'watched', 'from', 'till', 'grace_till')
    memo.upkeep = { watched = tonumber(marks[1] or nil), from = tonumber(marks[2] or nil), till = tonumber(marks[3] or nil),
      grace_till = tonumber(marks[4] or nil) }
  end
  return memo.upkeep
end

local function note(...)
  for name, value in pairs(by_name({ ... })) do
    state()[name] = value
  end
  call('HSET', P .. 'upkeep', ...)
end

-- A worker that beat since then is alive.
function Upkeep.alive_since()
  local gap = state()
  -- After the clock was set back the gap may lie ahead of it.
  local at = gap.till and now < gap.till and math.min(now, gap.from) or now
  return at - S.worker_ttl_s * 1000
end

-- Watches for gaps in which nobody wrote. Where nobody did for gap_ms (an outage, or nobody was there), workers could
-- not renew either: their leases look run out, and they get grace_ms to renew them. Nor could they beat: for half of
-- that time, counted from the first write, workers alive when the gap began count as alive. That is granted once for
-- each gap.
function Upkeep.notice_gap()
  local last = state().watched
  local gone = last and now - last > S.gap_ms
  if gone and state().from ~= last then
    note('from', last, 'till', now + S.grace_ms / 2)
  end
  return gone
end

-- Moves members of a zset of moments that lie ahead of `longest` to it: they were written before the clock was set back.
local function bring_forward(key, longest)
  for _, id in ipairs(call('ZRANGEBYSCORE', key, '(' .. longest, '+inf', 'LIMIT', 0, 100)) do
    call('ZADD', key, longest, id)
  end
end

-- The longest turn of a process at a batch (batches.lua).
local LONGEST_TURN_MS = 10000

-- The store's clock was set back: whatever waits for a moment by the former clock would wait for all that time again. Leases are
-- brought forward by `rescue`. Times that a caller named (schedule_at, start_by, finish_by) go by the clock, whatever it says.
local function set_back(by)
  call('DEL', P .. 'leader')
  note('grace_till', math.min(state().grace_till or 0, now + S.grace_ms))
  note('till', math.min(state().till or 0, now + S.grace_ms / 2))
  for _, lane in ipairs(call('SMEMBERS', P .. 'lanes')) do
    call('DEL', P .. 'emptying:' .. lane)
    bring_forward(P .. 'ready:' .. lane, now)
    bring_forward(P .. 'loading:' .. lane, now)
  end
  bring_forward(P .. 'batching', now + LONGEST_TURN_MS)
  local ahead = call('ZRANGEBYSCORE', P .. 'later', '(' .. now, now + by + Queue.LONGEST_PAUSE_MS, 'WITHSCORES', 'LIMIT', 0, 1000)
  for i = 1, #ahead, 2 do
    local work = read(ahead[i])
    if work and work.state == 'retrying' then
      call('ZADD', P .. 'later', math.max(ahead[i + 1] - math.max(work.queued_at - now, 0), now), ahead[i])
    end
  end
  Webhooks.bring_forward()
end

-- Where the last mark is ahead of now, the clock was set back. Returns whether leases have grace.
function Upkeep.watch()
  local ahead = (state().watched or now) - now
  if ahead > STEP_MS then
    set_back(ahead)
  end
  local gone = Upkeep.notice_gap()
  note('watched', now)
  if gone then
    note('grace_till', now + S.grace_ms)
    for _, name in ipairs(call('SMEMBERS', P .. 'lanes')) do
      Lanes.begin_epoch(Lanes.of(name))
    end
  end
  return (state().grace_till or 0) > now
end

-- Returns work whose lease ran out to its line, or ends it where its budget of deaths is spent or its model was removed:
-- {{id, lane}, …}; lane is empty where the work was ended.
transition('rescue', { 'allow-oom' }, function()
  local rescued, budget = {}, a.limit
  if Upkeep.watch() then
    return rescued
  end
  each(call('SMEMBERS', P .. 'lanes'), function(name)
    local key = P .. 'lease:' .. name
    -- A lease that ends later than any granted now was written before the clock was set back.
    bring_forward(key, now + S.lease_ms)
    local ids = call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, budget)
    budget = budget - #ids
    each(ids, function(id)
      local work = read(id)
      if not work or work.state ~= 'running' then
        call('ZREM', key, id)
        return
      end
      Queue.close_attempt(work, 'worker_lost')
      local stays = not Queue.count_death(work) and Queue.requeue(work, 'worker_lost')
      table.insert(rescued, { id, stays and name or '' })
    end)
  end)
  return rescued
end)

-- Puts work in line whose time has come; returns the lane of each.
transition('due', { 'allow-oom' }, function()
  local lanes = {}
  each(call('ZRANGEBYSCORE', P .. 'later', '-inf', now, 'LIMIT', 0, a.limit), function(id)
    call('ZREM', P .. 'later', id)
    local work = read(id)
    if work and (work.state == 'retrying' or work.state == 'scheduled') then
      local lane = Lanes.of(work.lane)
      if work.state == 'scheduled' then
        Queue.count_later(work, -1)
        Queue.enqueue_new(lane, work)
      else
        work.state, work.queued_at = 'queued', now
        Queue.enqueue(lane, work, true)
      end
      write(work)
      table.insert(lanes, work.lane)
    end
  end)
  return lanes
end)

-- Ends jobs whose deadline has passed, whatever their runs do; returns {them, how many were looked at}.
transition('expire', { 'allow-oom' }, function()
  local ended, passed = {}, call('ZRANGEBYSCORE', P .. 'deadlines', '-inf', now, 'LIMIT', 0, a.limit)
  each(passed, function(id)
    local job = read(id)
    local which = job and not job.status and Runs.passed(job)
    if which then
      Runs.leave(job, 'failed', S.failures[which])
      table.insert(ended, id)
    elseif job and not job.status then
      Runs.schedule_deadline(job)
    else
      call('ZREM', P .. 'deadlines', id)
    end
  end)
  return { ended, #passed }
end)

-- Makes a courier the leader of the maintenance, or keeps it so: the first to ask leads while it goes on asking. Returns 1 where
-- this courier leads, else 0.
transition('lead', { 'allow-oom' }, function()
  local leader = call('GET', P .. 'leader')
  if leader and leader ~= a.courier then
    return 0
  end
  call('SET', P .. 'leader', a.courier, 'PX', a.hold_ms)
  return 1
end)

-- What a bad record, or somebody's hand, leaves behind: work in no line, and jobs whose run is gone. No history of calls does.

-- Whether work is where its state says.
local function is_in_place(work)
  local class = Queue.RANK[work.priority]
  if work.state == 'running' then
    return call('ZSCORE', P .. 'lease:' .. work.lane, work.id)
  elseif work.state ~= 'queued' then
    return call('ZSCORE', P .. 'later', work.id)
  elseif Queue.is_suspect(work) then
    return call('ZSCORE', P .. 'suspects:' .. work.lane, work.id)
  end
  return call('ZSCORE', Queue.line_key(work.lane, class, work.caller), work.id)
    and call('ZSCORE', Queue.turns_key(work.lane, class), work.caller)
end

local function put_back(work)
  if is_in_place(work) then
    return nil
  elseif work.state == 'running' then
    -- A worker that holds it goes on renewing the lease; otherwise rescue takes the work.
    call('ZADD', P .. 'lease:' .. work.lane, now + S.lease_ms, work.id)
  elseif Lanes.superseded(work) then
    Runs.fail_work(work, S.removed)
  elseif work.state == 'queued' then
    Queue.enqueue(Lanes.of(work.lane), work)
  else
    call('ZADD', P .. 'later', now, work.id)
  end
  return 'work_nowhere'
end

-- What was wrong with a run that has not ended; nil where nothing was.
local function mend_run(run)
  for _, id in ipairs(Runs.live_jobs(run)) do
    if call('EXISTS', P .. id) == 0 then
      run.left = run.left or run.job == id and 1 or nil
      call('SREM', P .. run.id .. ':live', id)
    end
  end
  if Runs.live_count(run) == 0 then
    Runs.end_run(run, 'cancelled', nil)
    return 'run_for_nobody'
  end
  return put_back(run)
end

-- The same of a job.
local function mend_job(job)
  local run = job.run and stored(job.run)
  if job.run and not run then
    Runs.leave(job, 'failed', S.lost)
    return 'job_without_run'
  elseif run and run.ended and call('EXISTS', P .. 'ending') == 0 then
    Runs.end_with_run(job, run)
    return 'end_forgotten'
  elseif not call('ZSCORE', P .. 'deadlines', job.id) then
    Runs.schedule_deadline(job)
    return 'job_without_deadline'
  end
  return not run and put_back(job) or nil
end

-- Entries of a caller's list that one call looks at.
local LOOKED_AT = 50

-- Lists of what goes by itself.
local LISTS = { jobs = true, pair = true, files = true, batches = true }

-- Looks at some records (names of keys without their prefix), and mends them. Returns a flat list: finding, count, …
transition('audit', { 'allow-oom' }, function()
  local counts = {}
  each(a.names, function(id)
    if LISTS[string.match(id, '^(%l+):')] then
      -- A caller that comes no more would leave these names for long.
      Jobs.cut(P .. id, call('ZRANGE', P .. id, 0, LOOKED_AT - 1))
    end
    local record = (string.find(id, '^job_%x+$') or string.find(id, '^run_%x+$')) and read(id)
    local what = record and not record.ended and (is_run(id) and mend_run or mend_job)(record)
    if what then
      counts[what] = (counts[what] or 0) + 1
    end
  end)
  return flat(counts)
end)

-- Forgets the record `id` that was set aside.
transition('forget', { 'allow-oom' }, function()
  local known = call('HDEL', P .. 'bad', a.id) + call('DEL', P .. 'aside:' .. a.id) > 0
  return ApiKeys.logged(known and 'done' or 'not_found', known and 1 or 0)
end)
