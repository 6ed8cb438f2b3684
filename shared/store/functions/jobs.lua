-- One consistent read of a job, its run and its lane, as flat lists; nil where there is no such job.

-- Never its secret.
local HOOK_FIELDS = { 'url', 'events', 'delivered' }

function Jobs.lane_view(lane)
  local fresh = Estimates.alive_since()
  local facts = call('HGETALL', P .. 'lane:' .. lane)
  table.insert(facts, 'ready')
  table.insert(facts, once('ZCOUNT', P .. 'ready:' .. lane, fresh, '+inf'))
  table.insert(facts, 'loading')
  table.insert(facts, call('ZCOUNT', P .. 'loading:' .. lane, fresh, '+inf'))
  table.insert(facts, 'queued')
  table.insert(facts, call('ZCARD', P .. 'queue:' .. lane))
  table.insert(facts, 'running')
  table.insert(facts, once('SCARD', P .. 'running:' .. lane))
  local queued, running = unpack(call('HMGET', P .. 'extra', 'queue:' .. lane, 'running:' .. lane))
  add(facts, 'extra_queued', queued)
  add(facts, 'extra_running', running)
  table.insert(facts, 'paused')
  table.insert(facts, once('SISMEMBER', P .. 'paused', lane))
  table.insert(facts, 'draining')
  table.insert(facts, once('SISMEMBER', P .. 'draining', lane))
  table.insert(facts, 'now')
  table.insert(facts, now)
  return facts
end

-- How many pieces are begun before this one; -1 where it does not stand in this lane's queue.
function Jobs.ahead_of(id, lane)
  if memo.ahead[id] then
    return memo.ahead[id]
  end
  if not record(id) or not call('ZSCORE', P .. 'queue:' .. lane, id) then
    return -1
  end
  local class, caller = fields(id, 'priority', 'caller')
  local own = call('ZRANK', Queue.line_key(lane, class, caller), id)
  return own and Queue.ahead(lane, class, caller, own) or call('ZRANK', P .. 'suspects:' .. lane, id)
end

local function fields_of(key, names)
  local values, found = call('HMGET', key, unpack(names)), {}
  for i, name in ipairs(names) do
    if values[i] then
      table.insert(found, name)
      table.insert(found, values[i])
    end
  end
  return found
end

-- A job's record as it is told: with its run's end, where its own is still to be written.
function Jobs.as_told(job)
  local own = record(job)
  if not Runs.is_ending(job) then
    return own
  end
  local told = {}
  for name, value in pairs(own) do
    told[name] = value
  end
  told.own = 0
  told.status, told.ended, told.last, told.error = fields(own.run, 'state', 'ended', 'end_id', 'error')
  return told
end

-- {job, its record, its run's record and progress or '', result or '', origin or '', facts of its lane, its webhook,
-- deliveries}; records are JSON texts. `bare` = without the answer, which may be hundreds of times the rest.
function Jobs.view(job, bare)
  local own = record(job)
  if not own then
    return nil
  end
  own = Jobs.as_told(job)
  local run, going, result, origin, lane = '', '', nil, nil, {}
  if own.run and record(own.run) then
    run, going = json_of(own.run)
    if not bare and get(own.run, 'ended') then
      result, origin = unpack(call('HMGET', P .. own.run, 'result', 'origin'))
    end
  end
  if not own.status then
    lane = Jobs.lane_view(own.model_lane)
    table.insert(lane, 'ahead')
    table.insert(lane, Jobs.ahead_of(own.run or job, own.model_lane))
  end
  local hook, deliveries = {}, {}
  if own.hook then
    hook = fields_of(P .. job .. ':hook', HOOK_FIELDS)
    deliveries = call('LRANGE', P .. job .. ':deliveries', 0, -1)
  end
  local json = own == record(job) and json_of(job) or cjson.encode(own)
  return { job, json, run, going, result or '', origin or '', lane, hook, deliveries }
end

-- The lists in which a job stands, newest last: jobs:<caller> zset, and pair:<caller>:<digest> zset for each pair of its
-- metadata, all by the moment of its creation. They hold ids for as long as records may live; ids whose records are
-- gone are forgotten when met.

-- `pairs` are digests.
local function lists_of(caller, pairs)
  local keys = { P .. 'jobs:' .. caller }
  for _, digest in ipairs(pairs) do
    table.insert(keys, P .. 'pair:' .. caller .. ':' .. digest)
  end
  return keys
end

-- Takes out those of some jobs whose records are gone.
local function cut(key, jobs)
  for _, job in ipairs(jobs) do
    if not exists(job) then
      call('ZREM', key, job)
    end
  end
end

-- One job in so many, by the last digit of its id, looks through the lists that it enters.
local A_LOOK = 4

-- `life_s` is how long the record of a new job may live; that of an earlier job, made with a key that keeps jobs for
-- longer, may outlive it.
function Jobs.list(job, caller, pairs, life_s)
  local looks = tonumber(string.sub(job, -1), 16) % A_LOOK == 0
  for _, key in ipairs(lists_of(caller, pairs)) do
    call('ZADD', key, now, job)
    if looks then
      -- Two of the oldest for each job that comes, so that a list does not grow by jobs whose records are gone; and two
      -- at random, so that behind old jobs that live long those gone do not outnumber the living.
      cut(key, call('ZRANGE', key, 0, 2 * A_LOOK - 1))
      cut(key, call('ZRANDMEMBER', key, -2 * A_LOOK))
    end
    if call('TTL', key) < life_s then
      call('EXPIRE', key, life_s)
    end
  end
  if #pairs > 0 then
    put(job, 'pairs', table.concat(pairs, ' '))
  end
end

local function unlist(job, caller)
  local pairs = {}
  for digest in string.gmatch(get(job, 'pairs') or '', '%S+') do
    table.insert(pairs, digest)
  end
  for _, key in ipairs(lists_of(caller, pairs)) do
    call('ZREM', key, job)
  end
end

-- Reads one job of a caller with its run and lane.
--   a       job, caller, worker_ttl_s
--   returns the view, or nil where the caller has no such job
transition('view', { 'no-writes' }, function()
  if not owned(a.job, a.caller) then
    return nil
  end
  return Jobs.view(a.job)
end)

local STEP = 100

-- Whether a job is wanted; nil where its record is gone.
local function wanted(job)
  local model, priority, status, run, pairs = fields(job, 'model', 'priority', 'status', 'run', 'pairs')
  if not model then
    return nil
  end
  for _, digest in ipairs(a.pairs or {}) do
    if not string.find(pairs or '', digest, 1, true) then
      return false
    end
  end
  if a.status and not status then
    status = Runs.is_ending(job) and get(run, 'state') or run and get(run, 'started') and 'running' or 'queued'
  end
  return (not a.model or a.model == model)
    and (not a.priority or a.priority == priority)
    and (not a.status or a.status == status)
end

-- The size of a job's record and of its run's, which holds the answer.
local function bytes_of(found)
  return #found[2] + #found[3] + #found[5] + #found[6]
end

-- Reads a page of a caller's jobs, newest first.
--   a       caller, after (a job's id or a cursor, absent = from the newest), limit, look (jobs looked at for one page
--           at most), bytes (of records on one page at most, unless it has one job), worker_ttl_s, bare (true = without
--           answers), and the filter: status, model, priority, since and till (Unix ms, created then or later, created
--           before), pairs (digests of metadata)
--   writes  jobs:<caller> and pair:<caller>:<digest> zsets (forgets jobs whose record is gone)
--   returns {{view, …}, cursor of the next page or '', bytes}, or nil where `after` is no cursor and none of the caller's jobs
transition('jobs', { 'allow-oom' }, function()
  local source, everything = nil, P .. 'jobs:' .. a.caller
  local fewest = math.huge
  -- The shortest list that holds all wanted jobs; the rest of the filter is looked up in the records.
  for _, key in ipairs(lists_of(a.caller, a.pairs or {})) do
    local size = call('ZCARD', key)
    if size <= fewest then
      source, fewest = key, size
    end
  end

  -- The moment and id of a cursor or job. A cursor names the last job that was looked at, which may be gone by now.
  local function place_of(after)
    local created, job = string.match(after, '^(%d+)%-(job_%x+)$')
    return created or call('ZSCORE', everything, after), job or after
  end

  -- The rank of the first job behind a place, newest first.
  local function behind(created, job)
    local from = call('ZCOUNT', source, '(' .. created, '+inf')
    for _, other in ipairs(call('ZREVRANGEBYSCORE', source, created, created)) do
      from = from + (other >= job and 1 or 0)
    end
    return from
  end

  local from = 0
  if a.after then
    local created, job = place_of(a.after)
    if not created then
      return nil
    end
    from = behind(created, job)
  end
  if a.till then
    from = math.max(from, call('ZCOUNT', source, a.till, '+inf'))
  end
  local ending = call('ZCOUNT', source, a.since or '-inf', '+inf')
  local views, gone, bytes = {}, {}, 0

  -- Puts a job on the page; false where there is no room.
  local function put(job)
    if #views == a.limit then
      return false
    end
    local found = Jobs.view(job, a.bare)
    local more = bytes_of(found)
    if #views > 0 and bytes + more > a.bytes then
      return false
    end
    table.insert(views, found)
    bytes = bytes + more
    return true
  end

  -- Fills `views`; returns the cursor behind the last of them where another job follows, or behind the last looked at.
  local function fill()
    local kept, seen, looked = '', '', 0
    while from < ending do
      local found = call('ZREVRANGE', source, from, math.min(from + STEP, ending) - 1, 'WITHSCORES')
      for i = 1, #found, 2 do
        if looked == a.look then
          return seen
        end
        local word = wanted(found[i])
        seen, looked, from = found[i + 1] .. '-' .. found[i], looked + 1, from + 1
        if word and not put(found[i]) then
          return kept
        elseif word then
          kept = seen
        elseif word == nil then
          table.insert(gone, found[i])
        end
      end
    end
    return ''
  end

  local cursor = fill()
  for _, job in ipairs(gone) do
    call('ZREM', everything, job)
    call('ZREM', source, job)
  end
  return { views, cursor, bytes }
end)

-- Reads what is known of one model: its workers, its line, its last load.
--   a       lane, worker_ttl_s
--   reads   queue:<lane> zset and the <run> hash of its first
--   returns a flat list of names and values
transition('lane', { 'no-writes' }, function()
  local facts = Jobs.lane_view(a.lane)
  local first = call('ZRANGE', P .. 'queue:' .. a.lane, 0, 0)[1]
  add(facts, 'first_queued_ms', first and get(first, 'queued_at'))
  return facts
end)

-- Cancels a caller's job: it leaves its run, and the last job to leave ends the run.
--   a      job, caller, result_s, job_s, event_s, max_events, worker_ttl_s
--   writes <job> hash, <run> hash, <run>:live set
--   returns the view, or nil where the caller has no such job
--   repeat harmless; a job that has ended stays as it ended
--   events cancelled (the job's own)
transition('cancel', { 'allow-oom' }, function()
  if not owned(a.job, a.caller) then
    return nil
  end
  Runs.leave(a.job, 'cancelled', nil)
  return Jobs.view(a.job)
end)

-- For so long a repeat, whose first reply was lost, gets the same answer.
local REPEAT_MS = 60000

-- Cancels a job if need be and forgets it; what no other job holds goes too, and its webhook is told nothing more.
--   a      job, caller, delivered (true = only where the job is unstored, has ended and no webhook is still to be told),
--          result_s, job_s, event_s, max_events
--   writes <job> and <run> with all their keys (<job>:hook, <job>:asked, …), cache entry,
--          jobs:<caller> and pair:<caller>:<digest> zsets,
--          blob:<digest> zset, holdings:<part> hash, idem:<caller>:<key>, doomed:<digest> and
--          purged:<caller>:<job> strings
--   repeat within a minute answers the same
--   returns nil where the caller has no such job, else the digests of pictures nobody holds any more: delete
--           them, then run `deleted`
transition('purge', { 'allow-oom' }, function()
  local key, told = P .. a.job, P .. 'purged:' .. a.caller .. ':' .. a.job
  if not owned(a.job, a.caller) then
    local before = call('GET', told)
    return before and cjson.decode(before) or nil
  end
  local status, unstored, idem, keyed = fields(a.job, 'status', 'unstored', 'idem', 'keyed')
  if a.delivered and (not unstored or not status or Runs.untold(a.job)) then
    return nil
  end
  Runs.leave(a.job, 'cancelled', nil)
  if idem then
    call('DEL', P .. 'idem:' .. a.caller .. ':' .. idem)
  end
  if keyed and call('HGET', P .. 'idem:' .. a.caller .. ':' .. keyed, 'job') == a.job then
    call('HSET', P .. 'idem:' .. a.caller .. ':' .. keyed, 'purged', 1)
  end
  local run, names = fields(a.job, 'run', 'blobs')
  Memory.release(a.job)
  Webhooks.drop_notices(a.job)
  unlist(a.job, a.caller)
  delete(a.job)
  call('DEL', key .. ':asked', key .. ':hook', key .. ':deliveries')
  local holder = a.job
  if run then
    Files.leave_run(run, a.job)
    if Files.held(run) then
      call('SET', told, '[]', 'PX', REPEAT_MS)
      return {}
    end
    holder = run
    local entry
    names, entry = fields(run, 'blobs', 'entry')
    Memory.release(run)
    if entry and call('GET', entry) == run then
      call('DEL', entry)
    end
    delete(run)
    call('DEL', P .. run .. ':events', P .. run .. ':holders', P .. run .. ':live')
  end
  local orphans = {}
  for digest in string.gmatch(names or '', '%S+') do
    Files.release(digest, holder)
    if Files.doom(digest) then
      table.insert(orphans, digest)
    end
  end
  call('SET', told, #orphans > 0 and cjson.encode(orphans) or '[]', 'PX', REPEAT_MS)
  return orphans
end)

-- Reads whether a job that does not exist was deleted within the last minute.
--   a       job, caller
--   returns 1 where it was, else 0: it was deleted earlier or expired, or the store lost it
transition('purged', { 'no-writes' }, function()
  return call('EXISTS', P .. 'purged:' .. a.caller .. ':' .. a.job)
end)
