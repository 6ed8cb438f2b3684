-- A caller's jobs: one, a page of them, their cancellation and deletion.

-- How many pieces are begun before this one; -1 where it does not stand in this lane's line.
function Jobs.ahead_of(lane, work)
  if not work or work.state ~= 'queued' then
    return -1
  end
  memo.ahead = memo.ahead or {}
  if not memo.ahead[work.id] then
    local own = call('ZRANK', Queue.line_key(lane.name, Queue.RANK[work.priority], work.caller), work.id)
    memo.ahead[work.id] = own and Queue.ahead(lane, work, own) or call('ZRANK', P .. 'suspects:' .. lane.name, work.id) or -1
  end
  return memo.ahead[work.id]
end

-- So much of a text of JSON has the beginning of an answer, whatever its characters.
local BEGINNING = 1024

-- The beginning of a text, up to a whole character.
local function beginning_of(json)
  return #json > BEGINNING and string.gsub(string.sub(json, 1, BEGINNING), '[\192-\255]?[\128-\191]*$', '') or json
end

-- {job, its record's r and s, its run's r, s and t, result, origin, facts of its lane}, '' where there is none; where it has a
-- webhook, its url, events and when it was called (never its secret), the deliveries and when the next try is due. `bare` = of the result, which may be
-- hundreds of times the rest, only its beginning; where there is none, the first texts that were published. With `lanes` {name, facts} of the lane goes there once, and here is only how many pieces
-- are begun before the job's. The job was read in this call.
function Jobs.view(id, bare, lanes)
  local json, run_json, result, origin, lane = memo.json[id], nil, nil, nil, ''
  local run = field_of(json, 'run":')
  if run and bare then
    local bare_bytes = tonumber(redis.pcall('HSTRLEN', P .. run, 'bare')) or 0
    run_json, result = read_raw(run, bare_bytes > 0 and 'bare' or 'result')
    result = result and beginning_of(result)
  elseif run and memo.json[run] and memo.json[run][2] == '' then
    -- It has no answer: it was created in this call, or nothing has happened to it.
    run_json = read_raw(run)
  elseif run then
    run_json, result, origin = read_raw(run, 'result', 'origin')
  end
  local has_ended = value_at(json, 'status":') or run_json and value_at(run_json, 'end_id":')
  if has_ended and bare and run_json and not result then
    result = Events.texts(run, field_of(json, 'last":') or '+')
  elseif not has_ended then
    local own = Lanes.of(field_of(json, 'model_lane":'))
    local ahead = Jobs.ahead_of(own, run_json and { id = run, state = field_of(run_json, 'state":'),
      priority = field_of(run_json, 'priority":'), caller = field_of(run_json, 'caller":') })
    lane = lanes and ahead or Lanes.view(own, ahead)
    if lanes and not lanes[own.name] then
      lanes[own.name] = true
      table.insert(lanes, { own.name, Lanes.view(own) })
    end
  end
  run_json = run_json or { '', '', '' }
  local view = { id, json[1], json[2], run_json[1], run_json[2], run_json[3], result or '', origin or '', lane }
  local hook = string.find(json[1], 'hook":', 1, true) and redis.pcall('HMGET', P .. id .. ':hook', 'url', 'events', 'delivered')
  if hook and hook[1] then
    view[10], view[11] = hook, call('LRANGE', P .. id .. ':deliveries', 0, -1)
    view[12] = not hook[3] and view[11][1] and Webhooks.next_try(id) or nil
  end
  return view
end

-- Takes those of some jobs out of a list whose records are gone. One that this call creates is not written yet.
function Jobs.cut(key, jobs)
  local keys = {}
  for at, id in ipairs(jobs) do
    keys[at] = P .. id
  end
  -- Mostly all are there.
  for _, id in ipairs(keys[1] and call('EXISTS', unpack(keys)) < #keys and jobs or {}) do
    if not memo.records[id] and call('EXISTS', P .. id) == 0 then
      call('ZREM', key, id)
    end
  end
end

-- The lists in which jobs of a caller with these pairs of metadata (digests, words) stand.
function Jobs.lists_of(caller, pairs)
  local keys = { P .. 'jobs:' .. caller }
  for digest in words(pairs) do
    table.insert(keys, P .. 'pair:' .. caller .. ':' .. digest)
  end
  return keys
end

-- Reads one job; nil where the caller has no such job. `line`: for its batch, which sees it longer than its caller.
hot('view', 'job caller', { 'no-writes' }, function()
  memo.whole = a.line
  local json = is_job(a.job) and read_raw(a.job)
  return json and a.caller and string.find(json[1], 'caller":"' .. a.caller .. '"', 1, true) and Jobs.view(a.job) or nil
end)

-- Whether a record that is not decoded looks like a job.
local function is_readable(json)
  return string.find(json[1], 'model_lane":', 1, true)
end

-- A job's status, which is its run's where the job's own end is not written yet.
local function status_of(json)
  local status = field_of(json, 'status":')
  local id = not status and field_of(json, 'run":')
  local run = id and read_raw(id)
  if run and value_at(run, 'end_id":') then
    return field_of(run, 'state":')
  end
  return status or run and value_at(run, 'started":') and 'running' or 'queued'
end

-- More than the longest question takes, escaped.
local LONGEST_QUESTION = 800

-- A job's question as it is searched: in lower case, with a space for what JSON escapes.
local function question_of(json)
  local run = field_of(json, 'run":')
  local text, from = value_at(run and read_raw(run) or json, 'question":')
  local plain = text and string.gsub(string.sub(text, from + 1, from + LONGEST_QUESTION), '\\.', ' ')
  return plain and string.lower(string.gsub(string.match(plain, '^[^"]*'), ' +', ' ')) or ''
end

-- Whether a job's question has one of the spellings that are searched, or its id begins with it.
local function matches(id, json)
  local question = question_of(json)
  for phrase in string.gmatch(a.search, '[^\n]+') do
    if string.find(question, phrase, 1, true)
      or #phrase > 4 and (string.find(id, phrase, 1, true) == 1 or string.find(id, phrase, 5, true) == 5) then
      return true
    end
  end
  return false
end

-- Whether a job is wanted by the page's filter. Many may be looked at for a page, so none is decoded.
local function wanted(id, json)
  for digest in words(a.pairs) do
    if not string.find(field_of(json, 'pairs":') or '', digest, 1, true) then
      return false
    end
  end
  return (not a.model or string.find(json[1], 'model":' .. cjson.encode(a.model), 1, true))
    and (not a.priority or a.priority == field_of(json, 'priority":')) and (not a.search or matches(id, json))
    and (not a.status or string.find(a.status, status_of(json), 1, true))
end

-- The list to walk over, which is the shortest that holds all wanted jobs; the latest moment, and how many jobs of it were passed
-- before. nil where `after` is no cursor and none of the caller's. A cursor names the last job looked at, which may be gone.
local function beginning_of_walk()
  local source, fewest = nil, math.huge
  for _, key in ipairs(Jobs.lists_of(a.caller, a.pairs)) do
    local size = call('ZCARD', key)
    if size <= fewest then
      source, fewest = key, size
    end
  end
  local created, job = string.match(a.after or '', '^(%d+)%-(job_%x+)$')
  created, job = created or a.after and call('ZSCORE', P .. 'jobs:' .. a.caller, a.after), job or a.after
  if a.after and not created then
    return nil
  elseif not created or a.till and a.till <= tonumber(created) then
    return source, a.till and '(' .. a.till or '+inf', 0
  end
  local passed = 0
  for _, other in ipairs(call('ZREVRANGEBYSCORE', source, created, created)) do
    passed = passed + (other >= job and 1 or 0)
  end
  return source, created, passed
end

-- Jobs read from a list at once: the longest page, and whether another job follows.
local STEP = 101

-- Walks over a list from there; the rest of the filter is looked up in the records. `put` takes a job that was read, and returns
-- false where there is no room. Returns the cursor after the last job taken where another follows, or after the last looked at;
-- '' at the end.
local function walk(source, latest, passed, put)
  local kept, seen, looked, gone = nil, nil, 0, {}
  local function ended(id)
    local cursor = id and call('ZSCORE', source, id) .. '-' .. id or ''
    if writable and #gone > 0 then
      call('ZREM', source, unpack(gone))
      call('ZREM', P .. 'jobs:' .. a.caller, unpack(gone))
    end
    return cursor
  end
  local filtered = a.pairs or a.model or a.priority or a.status or a.search
  repeat
    local found = call('ZREVRANGEBYSCORE', source, latest, a.since or '-inf', 'LIMIT', passed + looked, STEP)
    for _, id in ipairs(found) do
      if looked == a.look then
        return ended(seen)
      end
      local json = read_raw(id)
      seen, looked = id, looked + 1
      if not (json and is_readable(json)) then
        -- It is gone, seen no longer, or cannot be read.
        table.insert(gone, not stored(id) and id or nil)
      elseif not filtered or wanted(id, json) then
        if not put(id) then
          return ended(kept)
        end
        kept = id
      end
    end
  until #found < STEP
  return ended()
end

-- Reads a page of a caller's jobs, newest first: `after` (a job's id or a cursor, absent = from the newest), limit, `look` (jobs
-- looked at for one page at most), `bytes` (of records on one page at most, unless it has one job), bare (without answers), and
-- the filter: status (words), search (spellings in lines), model, priority, since and till (Unix ms, created then or later, created before), pairs (digests of
-- metadata). Returns {{view, …}, cursor of the next page or '', bytes, {{lane, its facts}, …}}, nil where `after` is no cursor
-- and none of the caller's.
hot('jobs', 'caller after limit# look# bytes# bare status search model priority since# till# pairs', { 'allow-oom' }, function()
  local source, latest, passed = beginning_of_walk()
  if not source then
    return nil
  end
  local views, lanes, bytes = {}, {}, 0
  local cursor = walk(source, latest, passed, function(id)
    local view = #views < a.limit and Jobs.view(id, a.bare, lanes)
    local more = view and #view[2] + #view[3] + #view[4] + #view[5] + #view[6] + #view[7] + #view[8]
    if not view or #views > 0 and bytes + more > a.bytes then
      return false
    end
    table.insert(views, view)
    bytes = bytes + more
    return true
  end)
  return { views, cursor, bytes, lanes }
end)

-- Reads the statuses of a caller's jobs, newest first: caller, after, `look` (jobs looked at) and the filter, as in `jobs`.
-- Returns {a flat list of ids and statuses, cursor of the rest or ''}.
transition('statuses', { 'no-writes' }, function()
  local statuses = {}
  local source, latest, passed = beginning_of_walk()
  local cursor = source and walk(source, latest, passed, function(id)
    add(statuses, id, status_of(memo.json[id]))
    return true
  end)
  return { statuses, cursor or '' }
end)

-- Reads what a job asked, for a retry or a response: {status or '', request or '', metadata, priority, paths or '', unstored or
-- ''}, nil where the caller has no such job.
transition('asked', { 'no-writes' }, function()
  local job = owned(a.job, a.caller)
  if not job then
    return nil
  end
  local work, request = read(job.run or job.id, 'request')
  if work and (request or '') == '' then
    request = call('GET', P .. work.id .. ':asked')
  end
  local status = job.status or work and work.ended and work.state
  return { status or '', request or '', job.metadata, job.priority, job.paths or '', job.unstored or '' }
end)

-- The jobs whose callers hung up before the answer, by when they did: the same call again finds the first of them.
local function abandoned_key(caller, call_id)
  return P .. 'abandoned:' .. caller .. ':' .. call_id
end

-- Whether nobody came back for a job that was `abandoned` at that moment; always where nobody can.
local function is_abandoned(job)
  return not a.abandoned or tonumber(call('ZSCORE', abandoned_key(job.caller, job.call_id), job.id) or 0) == a.abandoned
end

-- Notes that the caller of a job hung up: for `keep_s` the same call finds it. Returns the moment, nil where no call can.
transition('abandon', { 'allow-oom' }, function()
  local job = owned(a.job, a.caller)
  if not job or not job.call_id then
    return nil
  end
  local key = abandoned_key(job.caller, job.call_id)
  call('ZADD', key, now, job.id)
  call('EXPIRE', key, a.keep_s)
  return now
end)

-- The job of an earlier call alike whose caller hung up; it is this one's now. One that failed meanwhile is no use.
function Jobs.take_abandoned()
  local id
  repeat
    id = a.call_id and call('ZPOPMIN', abandoned_key(a.caller, a.call_id))[1]
    local job = id and read(id)
    local work = job and (job.run and read(job.run) or job)
    local status = work and (job.status or work.ended and work.state)
    if work and (not status or status == 'succeeded') then
      return id
    end
  until not id
end

-- Cancels a caller's job: it leaves its run, and the last job to leave ends the run. Returns the view, nil where the caller has no
-- such job, or it is no longer `abandoned`. A job that has ended stays as it ended. `line`: as in `view`.
transition('cancel', { 'allow-oom' }, function()
  memo.whole = a.line
  local job = owned(a.job, a.caller)
  if not job or not is_abandoned(job) then
    return nil
  end
  Runs.leave(job, 'cancelled', nil)
  return Jobs.view(job.id)
end)

-- For so long a repeat, whose first reply was lost, gets the same answer.
local REPEAT_MS = 60000

-- Deletes a run that no job holds any more; returns its pictures (digests, words).
local function delete_run(run)
  local entry = Runs.cache_key(run, run.print)
  if entry and call('GET', entry) == run.id then
    call('DEL', entry)
  end
  Memory.free(run.id)
  delete(run.id)
  call('DEL', P .. run.id .. ':events', P .. run.id .. ':readers', P .. run.id .. ':live', P .. run.id .. ':asked')
  return run.blobs
end

-- Cancels a job if need be and forgets it; what no other job holds goes too, and its webhook is called no more. `delivered`: only
-- where the job is unstored, has ended and no webhook is still to be called; `abandoned`: as `cancel`. Returns nil where the caller has no such job, else
-- the digests of pictures nobody holds any more: delete them, then run `deleted`. A repeat within a minute answers the same.
transition('purge', { 'allow-oom' }, function()
  local answered, job = P .. 'purged:' .. a.caller .. ':' .. a.job, owned(a.job, a.caller)
  if not job then
    local before = call('GET', answered)
    return before and cjson.decode(before) or nil
  elseif not is_abandoned(job) or a.delivered and not (job.unstored and job.status and not Webhooks.has_pending(job.id)) then
    return nil
  end
  Runs.leave(job, 'cancelled', nil)
  local idem = job.idem and P .. 'idem:' .. a.caller .. ':' .. job.idem
  if idem and call('HGET', idem, 'job') == job.id then
    if job.unstored then
      call('DEL', idem)
    else
      call('HSET', idem, 'purged', 1)
    end
  end
  Webhooks.drop_notices(job.id)
  for _, key in ipairs(Jobs.lists_of(job.caller, job.pairs)) do
    call('ZREM', key, job.id)
  end
  Memory.free(job.id)
  delete(job.id)
  call('DEL', P .. job.id .. ':asked', P .. job.id .. ':hook', P .. job.id .. ':deliveries')
  local run, holder, blobs, orphans = job.run and stored(job.run), job.id, job.blobs, {}
  if run then
    if Runs.remove_reader(run, job) then
      write(run)
      call('SET', answered, '[]', 'PX', REPEAT_MS)
      return {}
    end
    holder, blobs = run.id, delete_run(run)
  end
  for digest in words(blobs) do
    Files.release(digest, holder)
    if Files.mark_deleted(digest) then
      table.insert(orphans, digest)
    end
  end
  call('SET', answered, #orphans > 0 and cjson.encode(orphans) or '[]', 'PX', REPEAT_MS)
  return orphans
end)
