-- The store's clock was set back: whatever waits for a moment by the former clock would wait for all that time again.
-- From now on each wait is to take its own length, no longer and no shorter: moments that the right clock wrote, before
-- it was put forward for a while, stay.

-- The longest turn of a process at a batch (batches.py).
local LONGEST_TURN_MS = 10000

-- Moments of runs that are looked at, and as many of calls; then others have their turn at the store. The latest come
-- first; the rest waits by the former clock.
local LOOKS = 10000

-- Moves members that lie ahead of now in a zset of moments, up to `till`, to the moment `latest`(member, moment).
local function bring_forward(key, latest, till)
  local ahead = call('ZREVRANGEBYSCORE', key, till or '+inf', '(' .. now, 'WITHSCORES', 'LIMIT', 0, memo.looks_left)
  memo.looks_left = math.max(memo.looks_left - 1 - #ahead / 2, 0)
  for i = 1, #ahead, 2 do
    local at = math.max(latest(ahead[i], tonumber(ahead[i + 1])), now)
    if at < tonumber(ahead[i + 1]) then
      call('ZADD', key, string.format('%.0f', at), ahead[i])
    end
  end
end

-- By how much a moment written at `since` is too late; without `since` it counts as written at the last mark.
local function too_late(since, by)
  return math.max((tonumber(since) or now + by) - now, 0)
end

local function bring_calls_forward(by)
  local function own(delivery, at)
    return at - too_late(call('HGET', P .. delivery, 'since'), by)
  end
  -- For hosts and callers too early is harmless.
  local function early(_, at)
    return at - by
  end
  for _, caller in ipairs(call('ZRANGE', P .. 'callers', 0, memo.looks_left)) do
    for _, host in ipairs(call('ZRANGE', P .. 'hosts:' .. caller, 0, memo.looks_left)) do
      bring_forward(P .. 'calls:' .. caller .. ':' .. host, own)
      bring_forward(P .. 'calling:' .. caller .. ':' .. host, own)
    end
    bring_forward(P .. 'busy:' .. caller, own)
    bring_forward(P .. 'hosts:' .. caller, early)
  end
  bring_forward(P .. 'callers', early)
end

-- Brings runs between two attempts forward. Times that a caller named (schedule_at, start_by, finish_by) go by the
-- clock, whatever it says.
local function bring_attempts_forward(by)
  bring_forward(P .. 'schedule', function(id, at)
    local state, since = fields(id, 'state', 'queued_at')
    return state == 'retrying' and at - too_late(since, by) or at
  end, now + by + Queue.LONGEST_PAUSE_MS)
end

-- A time to live ends by the clock, too.
local function shorten(key, ms)
  if call('PTTL', key) > ms then
    call('PEXPIRE', key, ms)
  end
end

-- Workers go on being spared after an outage that came with the change of the clock.
local function shorten_grace()
  shorten(P .. 'spared', a.grace_ms)
  local till = call('HGET', P .. 'gap', 'till')
  if till then
    call('HSET', P .. 'gap', 'till', math.min(till, now + a.grace_ms / 2))
  end
end

-- Leases of work are `rescue`'s to mend.
local function set_back(by)
  memo.looks_left = LOOKS
  call('DEL', P .. 'leader')
  shorten_grace()
  local function at_once()
    return now
  end
  for _, lane in ipairs(call('SMEMBERS', P .. 'lanes')) do
    shorten(P .. 'emptying:' .. lane, a.lease_ms)
    bring_forward(P .. 'ready:' .. lane, at_once)
    bring_forward(P .. 'loading:' .. lane, at_once)
  end
  bring_forward(P .. 'batching', function()
    return now + LONGEST_TURN_MS
  end)
  bring_attempts_forward(by)
  memo.looks_left = LOOKS
  bring_calls_forward(by)
end

-- Watches for gaps in which nobody wrote. Where nobody did for gap_ms (an outage, or nobody was there), workers could
-- not renew either: their leases look run out, and they get grace_ms to renew them. Nor could they beat: for half of
-- that time, counted from the first write, workers alive when the gap began count as alive. That is granted once for
-- each gap. Where the last mark is ahead of now, the clock was set back.

-- A clock set back by less than this needs no mending.
local STEP_MS = 1000

function Upkeep.notice_gap()
  local last = call('GET', P .. 'watched')
  local gone = last and now - last > a.gap_ms
  if gone and call('HGET', P .. 'gap', 'from') ~= last then
    call('HSET', P .. 'gap', 'from', last, 'till', now + a.grace_ms / 2)
  end
  return gone
end

function Upkeep.watch()
  local ahead = (call('GET', P .. 'watched') or now) - now
  if ahead > STEP_MS then
    set_back(ahead)
  end
  local gone = Upkeep.notice_gap()
  call('SET', P .. 'watched', now)
  if gone then
    call('SET', P .. 'spared', 1, 'PX', a.grace_ms)
    for _, lane in ipairs(call('SMEMBERS', P .. 'lanes')) do
      Estimates.begin_epoch(lane)
    end
  end
  return call('EXISTS', P .. 'spared') == 1
end

-- Returns work whose lease ran out to its queue, or ends it where its budget of deaths is spent.
--   a      limit, max_deaths, lease_ms, gap_ms, grace_ms, failure (JSON), result_s, job_s, event_s, max_events
--   writes lease zset, <work> hash, queue:<lane> zset and its lines, watched and spared strings, gap hash,
--          and what the helpers here write
--   returns {{id, lane}, …}; lane is empty where the work was ended
--   events requeued {reason = worker_lost} | failed
transition('rescue', { 'allow-oom' }, function()
  if Upkeep.watch() then
    return {}
  end
  -- A lease that ends later than any granted now was written before the clock was set back.
  local longest = now + a.lease_ms
  for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'lease', '(' .. longest, '+inf', 'LIMIT', 0, a.limit)) do
    call('ZADD', P .. 'lease', longest, id)
  end
  local rescued = {}
  each(call('ZRANGEBYSCORE', P .. 'lease', '-inf', now, 'LIMIT', 0, a.limit), function(id)
    if not record(id) then
      call('ZREM', P .. 'lease', id)
    elseif is_newer(id) then
      -- Left to a courier who can read it.
      call('ZADD', P .. 'lease', longest, id)
    elseif Queue.count_death(id) then
      Queue.close_attempt(id, 'worker_lost')
      Runs.fail_work(id, a.failure)
      table.insert(rescued, { id, '' })
    else
      table.insert(rescued, { id, Queue.requeue(id, 'worker_lost') })
    end
  end)
  return rescued
end)

-- Puts work in line whose time has come: jobs with schedule_at, runs between two attempts.
--   a      limit
--   writes schedule zset, <work> hash, queue:<lane> zset and its lines
--   returns the lane of each
transition('due', { 'allow-oom' }, function()
  local lanes = {}
  each(call('ZRANGEBYSCORE', P .. 'schedule', '-inf', now, 'LIMIT', 0, a.limit), function(id)
    call('ZREM', P .. 'schedule', id)
    local state, lane = fields(id, 'state', 'lane')
    if is_newer(id) then
      -- Left to a courier who can read it.
      call('ZADD', P .. 'schedule', now + 5000, id)
    elseif state == 'retrying' then
      put(id, 'state', 'queued', 'queued_at', now)
      Queue.stand(id, lane)
      table.insert(lanes, lane)
    elseif state == 'scheduled' then
      Queue.count_later(id, -1)
      Queue.enqueue(id, lane)
      table.insert(lanes, lane)
    end
  end)
  return lanes
end)

-- Ends jobs whose deadline has passed, whatever their runs do.
--   a      limit, wait_ms, failures {start_by, finish_by} (JSON texts), result_s, job_s, event_s,
--          max_events
--   writes deadlines zset, <job> hash, and what runs.lua writes
--   returns the jobs that ended
--   events failed (each job's own)
transition('expire', { 'allow-oom' }, function()
  local ended = {}
  each(call('ZRANGEBYSCORE', P .. 'deadlines', '-inf', now, 'LIMIT', 0, a.limit), function(job)
    local known, status = record(job), get(job, 'status')
    local which = known and not status and not is_newer(job) and Runs.passed(job)
    if which then
      Runs.leave(job, 'failed', a.failures[which])
      table.insert(ended, job)
    elseif known and not status and is_newer(job) then
      -- Left to a courier who can read it.
      call('ZADD', P .. 'deadlines', now + 5000, job)
    elseif known and not status then
      Runs.look_later(job)
    else
      call('ZREM', P .. 'deadlines', job)
    end
  end)
  return ended
end)

-- Makes a courier the leader of the maintenance, or keeps it so: the first to ask leads while it goes on asking.
--   a      courier, hold_ms
--   writes leader string
--   returns 1 where this courier leads, else 0
transition('lead', { 'allow-oom' }, function()
  local leader = call('GET', P .. 'leader')
  if leader and leader ~= a.courier then
    return 0
  end
  call('SET', P .. 'leader', a.courier, 'PX', a.hold_ms)
  return 1
end)
