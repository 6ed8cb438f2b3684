-- Maintenance: outages, leases that ran out, deadlines. A clock that is set back prolongs waits by as much.
--   upkeep  hash    watched (the last beat or pass), from and till (of the last gap: workers alive when it began count
--                   as alive until then), grace_till (until when leases are not taken back), folded (memory.lua)
--   leader  string  the courier that leads
--   later   zset    work that waits for its time: between two attempts, or a batch between two turns

local function state()
  if not memo.upkeep then
    memo.upkeep = fields_at(P .. 'upkeep', { 'watched', 'from', 'till', 'grace_till' })
    for name, value in pairs(memo.upkeep) do
      memo.upkeep[name] = tonumber(value)
    end
  end
  return memo.upkeep
end

local function note(marks)
  for name, value in pairs(marks) do
    state()[name] = value
  end
  call('HSET', P .. 'upkeep', unpack(flat(marks)))
end

-- A worker that beat since then is alive.
function Upkeep.alive_since()
  local gap = state()
  -- If the clock was set back the gap may lie ahead: a worker that beats now is alive.
  local at = gap.till and now < gap.till and math.min(now, gap.from) or now
  return at - S.worker_ttl_s * 1000
end

-- Notices a gap of gap_ms without a write, in which workers could not renew or beat. Once for each gap, they get
-- grace_ms to renew their leases, and workers alive when it began count as alive for half of that from the first write
-- on.
function Upkeep.notice_gap()
  local last = state().watched
  local gone = last and now - last > S.gap_ms
  if gone and state().from ~= last then
    note({ from = last, till = now + S.grace_ms / 2 })
  end
  return gone
end

-- Marks a write. Returns whether leases have grace.
function Upkeep.watch()
  local gone = Upkeep.notice_gap()
  note({ watched = now, grace_till = gone and now + S.grace_ms or nil })
  if gone then
    for _, name in ipairs(call('SMEMBERS', P .. 'lanes')) do
      Lanes.begin_epoch(Lanes.of(name))
    end
  end
  return (state().grace_till or 0) > now
end

-- Puts work whose lease ran out back in line, or ends it if its budget of deaths is spent or its model was removed:
-- {{id, lane}, …}; lane is empty if the work was ended.
transition('rescue', { 'allow-oom' }, function()
  local rescued, budget = {}, a.limit
  if Upkeep.watch() then
    return rescued
  end
  for _, name in ipairs(call('SMEMBERS', P .. 'lanes')) do
    local key = P .. 'lease:' .. name
    local ids = call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, budget)
    budget = budget - #ids
    each(key, ids, function(id)
      local work = stored(id)
      if not work or work.state ~= 'running' then
        call('ZREM', key, id)
        return
      end
      FairQueue.close_attempt(work, 'worker_lost')
      local stays = not FairQueue.count_death(work) and FairQueue.requeue(work, 'worker_lost')
      table.insert(rescued, { id, stays and name or '' })
    end)
  end
  return rescued
end)

-- Puts work in line whose time has come, up to a limit; returns the lane of each.
function Upkeep.start_due(limit)
  local lanes = {}
  each(P .. 'later', call('ZRANGEBYSCORE', P .. 'later', '-inf', now, 'LIMIT', 0, limit), function(id)
    call('ZREM', P .. 'later', id)
    local work = stored(id)
    if work and (work.state == 'retrying' or work.state == 'between_turns') then
      local lane = Lanes.of(work.lane)
      FairQueue.count_later(lane, -1)
      if work.state == 'between_turns' then
        FairQueue.enqueue_new(lane, work)
      else
        work.state, work.queued_at = 'queued', now
        FairQueue.enqueue(lane, work, true)
      end
      write(work)
      table.insert(lanes, work.lane)
    end
  end)
  return lanes
end

-- The same, of `limit`.
transition('due', { 'allow-oom' }, function()
  return Upkeep.start_due(a.limit)
end)

-- Ends jobs whose deadline has passed, a piece of them; returns {them, how many have passed}.
transition('expire', { 'allow-oom' }, function()
  local ended, passed, cost = {}, call('ZRANGEBYSCORE', P .. 'deadlines', '-inf', now, 'LIMIT', 0, a.limit), 0
  each(P .. 'deadlines', passed, function(id)
    if cost >= Runs.PIECE then
      return
    end
    local job = read(id)
    if not job or job.status then
      call('ZREM', P .. 'deadlines', id)
    elseif now >= Runs.deadline(job) then
      cost = cost + Runs.fail_too_late(job)
      table.insert(ended, id)
    else
      Runs.watch_deadline(job)
    end
  end)
  return { ended, #passed }
end)

-- Makes a courier the leader of the maintenance while it repeats this call. Returns 1 if it leads, else 0.
transition('lead', { 'allow-oom' }, function()
  local leader = call('GET', P .. 'leader')
  if leader and leader ~= a.courier then
    return 0
  end
  call('SET', P .. 'leader', a.courier, 'PX', a.hold_ms)
  return 1
end)

-- Forgets that `id` could not be read.
transition('forget', { 'allow-oom' }, function()
  return call('HDEL', P .. 'bad', a.id)
end)
