-- A caller's jobs: one, a page of them, their cancellation and deletion.

-- How many pieces are begun before this one; -1 where it does not stand in this lane's line.
function Jobs.ahead_of(lane, work)
  if not work or work.state ~= 'queued' then
    return -1
  end
  memo.ahead = memo.ahead or {}
  if not memo.ahead[work.id] then
    local own = call('ZRANK', FairQueue.line_key(lane.name, FairQueue.rank(work), work.caller), work.id)
    memo.ahead[work.id] = own and FairQueue.ahead(lane, work, own) or call('ZRANK', P .. 'suspects:' .. lane.name, work.id) or -1
  end
  return memo.ahead[work.id]
end

-- So much of a text of JSON has the beginning of an answer, whatever its characters.
local BEGINNING = 1024

-- The beginning of a text, up to a whole character.
local function beginning_of(json)
  return #json > BEGINNING and string.gsub(string.sub(json, 1, BEGINNING), '[\192-\255]?[\128-\191]*$', '') or json
end

-- Reads a job as its caller sees it, with its answer, where that is in its record: mostly it is.
local function read_whole(id)
  local json, result, origin = read_raw(id, 'result', 'origin')
  memo.answers[id] = result and { result, origin } or nil
  return json
end

-- Of some work (its id, its JSON texts) what was asked, a JSON object, which is empty where the record says it; the answer, or
-- where it is `bare` that without logprobs; and what made it. '' and no more where that is no longer read.
local function answer_of(id, work, bare)
  local kept = field_of(work, 'kept":')
  if kept and not memo.whole and now >= tonumber(kept) then
    return ''
  elseif not kept or memo.answers[id] and not bare then
    return '{}', unpack(memo.answers[id] or {})
  end
  local name = bare and value_at(work, 'bare":') and 'bare' or 'result'
  local apart = value_at(work, 'apart":')
  local texts = call('HMGET', P .. id .. (apart and ':answer' or ''), name, 'origin', 'asked')
  return apart and texts[3] or '{}', texts[1], texts[2]
end

-- {job, its record's r, s and t, its leader's or '', that one's r, s and t, what was asked, result, origin, facts of its lane}, '' where there is
-- none; where it has a webhook, its url, events and when it was called (never its secret), the deliveries and when the next try is
-- due. `bare` = of the result, which may be hundreds of times the rest, only its beginning; where there is none, the first texts
-- that were published. With `lanes` {name, facts} of the lane goes there once, and here is only how many pieces are begun before
-- the job's. The job was read in this call.
function Jobs.view(id, bare, lanes)
  local json, lane, asked, result, origin = memo.json[id], '', '{}', nil, nil
  -- Only work has a state.
  local state = field_of(json, 'state":')
  local leader = not state and field_of(json, 'leader":')
  local source, work = leader or id, leader and raw(leader) or state and json
  if work then
    state = state or field_of(work, 'state":')
    asked, result, origin = answer_of(source, work, bare)
  end
  if bare then
    result = result and beginning_of(result)
  end
  if not value_at(json, 'status":') and state ~= 'over' then
    local own = Lanes.of(field_of(json, 'model_lane":') or '')
    local ahead = work and Jobs.ahead_of(own, { id = source, state = state, class = field_of(work, 'class":'),
      priority = field_of(work, 'priority":'), caller = field_of(work, 'caller":') }) or -1
    lane = lanes and ahead or Lanes.view(own, ahead)
    if lanes and not lanes[own.name] then
      lanes[own.name] = true
      table.insert(lanes, { own.name, Lanes.view(own) })
    end
  elseif bare and work and not result then
    result = Events.texts(source, field_of(json, 'last":') or '+')
  end
  local others = leader and work or { '', '', '' }
  local view = { id, json[1], json[2], json[3], leader or '', others[1], others[2], others[3], asked, result or '', origin or '',
    lane }
  if string.find(json[1], 'hook":', 1, true) then
    view[13], view[14], view[15] = Webhooks.view(id)
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
transition('view', { 'no-writes' }, function()
  memo.whole = a.line
  local json = is_job(a.job) and read_whole(a.job)
  return json and a.caller and string.find(json[1], 'caller":"' .. a.caller .. '"', 1, true) and Jobs.view(a.job) or nil
end)

-- A job's status, which is its leader's where its own end is not written yet.
local function status_of(json)
  local status, leader = field_of(json, 'status":'), field_of(json, 'leader":')
  if status then
    return status
  end
  local work = leader and raw(leader) or not leader and field_of(json, 'lane":"intake') == nil and json
  if work and field_of(work, 'state":') == 'over' then
    local over = find(work[2], 'over":{', 1, true)
    return string.match(work[2], '"status":"(%l+)"', over or 1)
  end
  return work and value_at(work, 'started":') and 'running' or 'queued'
end

-- More than the longest question takes, escaped.
local LONGEST_QUESTION = 800

-- A job's question as it is searched: in lower case, with a space for what JSON escapes.
local function question_of(id, json)
  local leader = field_of(json, 'leader":')
  local work = leader and raw(leader) or json
  local asked = answer_of(leader or id, work, true)
  local text, from = value_at(asked == '{}' and work or { asked, '' }, 'question":')
  local plain = text and string.gsub(string.sub(text, from + 1, from + LONGEST_QUESTION), '\\.', ' ')
  return plain and string.lower(string.gsub(string.match(plain, '^[^"]*'), ' +', ' ')) or ''
end

-- Whether a job's question has one of the spellings that are searched, or its id begins with it.
local function matches(id, json)
  local question = question_of(id, json)
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

-- Walks over a list from there, and `read`s its jobs; the rest of the filter is looked up in the records. `put` takes a job that was read, and returns
-- false where there is no room. Returns the cursor after the last job taken where another follows, or after the last looked at;
-- '' at the end.
local function walk(source, latest, passed, read, put)
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
      local json = read(id)
      seen, looked = id, looked + 1
      if not (json and string.find(json[1], 'model_lane":', 1, true)) then
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
transition('jobs', { 'allow-oom' }, function()
  local source, latest, passed = beginning_of_walk()
  if not source then
    return nil
  end
  local views, lanes, bytes = {}, {}, 0
  local cursor = walk(source, latest, passed, a.bare and read_raw or read_whole, function(id)
    local view = #views < a.limit and Jobs.view(id, a.bare, lanes)
    local more = view and #view[2] + #view[3] + #view[6] + #view[7] + #view[10] + #view[11]
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
  local cursor = source and walk(source, latest, passed, read_raw, function(id)
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
  local work = Runs.of(job)
  local outcome = work and Runs.outcome(work)
  return { job.status or outcome and outcome.status or '', call('GET', P .. (job.leader or job.id) .. ':asked') or '', job.metadata,
    job.priority, job.paths or '', job.unstored or '' }
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
    local work = job and (Runs.of(job) or not job.leader and job)
    local outcome = work and (job.status and job or Runs.outcome(work))
    if work and (not outcome or outcome.status == 'succeeded') then
      return id
    end
  until not id
end

-- Cancels a caller's job: it leaves its work, and the last job to leave ends that. Returns the view, nil where the caller has no
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

-- What beside its caller is in a record.
local PRIVATE = { 'metadata', 'paths', 'response', 'pairs', 'idem', 'call_id', 'retry_of', 'batch', 'hook' }

-- Forgets a job that others follow: its work goes on, or is still to be read.
local function strip(job)
  for _, name in ipairs(PRIVATE) do
    unset(job, name)
  end
  job.gone, job.till, job.metadata = 1, 0, '{}'
  write(job)
end

-- Deletes work that nobody may read any more; returns its pictures (digests, words).
local function delete_work(work)
  local entry = Runs.cache_key(work, work.print)
  if entry and call('GET', entry) == work.id then
    call('DEL', entry)
  end
  Memory.free(work.id)
  Memory.free(work.id .. ':answer')
  delete(work.id)
  call('DEL', P .. work.id .. ':events', P .. work.id .. ':followers', P .. work.id .. ':asked', P .. work.id .. ':answer')
  return work.blobs
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
  Webhooks.drop(job.id, job.caller)
  for _, key in ipairs(Jobs.lists_of(job.caller, job.pairs)) do
    call('ZREM', key, job.id)
  end
  local work, orphans = job.leader and stored(job.leader) or job, {}
  local held = Runs.is_held(work, job)
  if held and work == job then
    strip(job)
  elseif work ~= job then
    Memory.free(job.id)
    delete(job.id)
  end
  local holder, blobs = work.id, not held and delete_work(work) or nil
  for digest in words(blobs) do
    Files.release(digest, holder)
    if Files.mark_deleted(digest) then
      table.insert(orphans, digest)
    end
  end
  call('SET', answered, #orphans > 0 and cjson.encode(orphans) or '[]', 'PX', REPEAT_MS)
  return orphans
end)
