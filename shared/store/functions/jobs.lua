-- A caller's jobs: one, a page of them, their cancellation and deletion.

-- How many pieces begin before this one; -1 if it is not in this lane's line.
function Jobs.ahead_of(lane, work)
  if not work or work.state ~= 'queued' then
    return -1
  end
  memo.ahead = memo.ahead or {}
  if not memo.ahead[work.id] then
    local own = call('ZRANK', FairQueue.line_key(lane.name, FairQueue.rank(work), work.caller), work.id)
    memo.ahead[work.id] = own and FairQueue.ahead(lane, work, own)
      or call('ZRANK', P .. 'suspects:' .. lane.name, work.id) or -1
  end
  return memo.ahead[work.id]
end

local BEGINNING = 1024 -- bytes of JSON that have the beginning of an answer, whatever its characters

-- The beginning of a text, up to a whole character.
local function beginning_of(json)
  return #json > BEGINNING and string.gsub(string.sub(json, 1, BEGINNING), '[\192-\255]?[\128-\191]*$', '') or json
end

-- Reads a job as its caller sees it, with its answer, which mostly is in its record.
local function read_whole(id)
  local json, result, origin = read_raw(id, 'result', 'origin')
  memo.answers[id] = result and { result, origin } or nil
  return json
end

-- What some work (its id, its JSON texts) was asked, a JSON object, empty if the record has it; the answer, if `bare`
-- without logprobs; and what made it. Only '' if it is no longer read.
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

-- {job, its record's r, s and t, its leader or '', that one's r, s and t, what was asked, result, origin, facts of its
-- lane}, each '' if there is none; and Webhooks.view, if it has one. `bare`: only the beginning of the result, which
-- may be very long, or without one the first published texts. With `lanes`, {name, facts} of the lane goes there once,
-- and the view only says how many pieces begin before the job's. The job was read in this call.
function Jobs.view(id, bare, lanes)
  local json, lane, asked, result, origin = memo.json[id], '', '{}', nil, nil
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
  local view = { id, json[1], json[2], json[3], leader or '', others[1], others[2], others[3], asked, result or '',
    origin or '', lane }
  if string.find(json[1], 'hook":', 1, true) then
    view[13], view[14], view[15] = Webhooks.view(id)
  end
  return view
end

-- Takes jobs out of a list whose records are gone. One that this call creates is not written yet.
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

-- The lists of a caller's jobs with these pairs of metadata (digests, words).
function Jobs.lists_of(caller, pairs)
  local keys = { P .. 'jobs:' .. caller }
  for digest in words(pairs) do
    table.insert(keys, P .. 'pair:' .. caller .. ':' .. digest)
  end
  return keys
end

-- Reads one job; nil if the caller has no such job. `line`: for its batch, which sees it longer than its caller.
transition('view', { 'no-writes' }, function()
  memo.whole = a.line
  local json = is_job(a.job) and read_whole(a.job)
  return json and a.caller and string.find(json[1], 'caller":"' .. a.caller .. '"', 1, true) and Jobs.view(a.job) or nil
end)

-- A job's status, which is its leader's until its own end is written.
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

local LONGEST_QUESTION = 800 -- more than the longest question takes, escaped

-- A job's question as it is searched: in lower case, with a space for what JSON escapes.
local function question_of(id, json)
  local leader = field_of(json, 'leader":')
  local work = leader and raw(leader) or json
  local asked = answer_of(leader or id, work, true)
  local text, from = value_at(asked == '{}' and work or { asked, '' }, 'question":')
  local plain = text and string.gsub(string.sub(text, from + 1, from + LONGEST_QUESTION), '\\.', ' ')
  return plain and string.lower(string.gsub(string.match(plain, '^[^"]*'), ' +', ' ')) or ''
end

-- Whether a job's question has one of the searched spellings, or its id begins with one.
local function matches(id, json)
  local question = question_of(id, json)
  for phrase in string.gmatch(a.search, '[^\n]+') do
    local begins = string.find(id, phrase, 1, true) == 1 or string.find(id, phrase, 5, true) == 5
    if string.find(question, phrase, 1, true) or #phrase > 4 and begins then
      return true
    end
  end
  return false
end

-- Whether a job passes the page's filter. Many may be looked at for a page, so none is decoded.
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

-- The shortest list that holds all wanted jobs, the moment at which a walk over it begins, and how many jobs of that
-- moment were passed. nil if `after` is no cursor of the caller; it names the last job looked at, which may be gone.
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

local STEP = 101 -- jobs read from a list at once: the longest page, and whether another job follows

-- Walks over a list from there, `read`s its jobs and applies the rest of the filter. `put` takes a job, or returns
-- false. Returns the cursor after the last job taken if another follows, or after the last looked at; '' at the end.
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
        -- It is gone, no longer seen, or cannot be read.
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

-- Reads a page of a caller's jobs, newest first. The arguments are those of `jobs` in shared/store/jobs.py. Returns
-- {{view, …}, cursor of the next page or '', bytes, {{lane, its facts}, …}}, nil if `after` is no cursor of the caller.
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

-- Reads the statuses of jobs, as in `jobs`: {a flat list of ids and statuses, cursor of the rest or ''}.
transition('statuses', { 'no-writes' }, function()
  local statuses = {}
  local source, latest, passed = beginning_of_walk()
  local cursor = source and walk(source, latest, passed, read_raw, function(id)
    add(statuses, id, status_of(memo.json[id]))
    return true
  end)
  return { statuses, cursor or '' }
end)

-- Reads what a job asked, for a retry or a response: {status or '', request or '', metadata, priority, paths or '',
-- unstored or ''}, nil if the caller has no such job.
transition('asked', { 'no-writes' }, function()
  local job = owned(a.job, a.caller)
  if not job then
    return nil
  end
  local work = Runs.of(job)
  local outcome = work and Runs.outcome(work)
  local status, request = job.status or outcome and outcome.status, call('GET', P .. (job.leader or job.id) .. ':asked')
  return { status or '', request or '', job.metadata, job.priority, job.paths or '', job.unstored or '' }
end)

-- A zset of jobs whose callers hung up, by when they did: the same call again finds the first of them.
local function abandoned_key(caller, call_id) return P .. 'abandoned:' .. caller .. ':' .. call_id end

-- Whether no call came back for a job that was `abandoned` at that moment; true without a moment.
local function is_abandoned(job)
  return not a.abandoned or tonumber(call('ZSCORE', abandoned_key(job.caller, job.call_id), job.id) or 0) == a.abandoned
end

-- Notes that the caller of a job hung up: for `keep_s` the same call finds it. Returns the moment, nil if no call can.
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

-- The job of an equal earlier call whose caller hung up; it is this call's now, unless it failed meanwhile.
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

-- Cancels a caller's job: it leaves its work, and the last job to leave ends that. A job that has ended stays as it is.
-- Returns the view, nil if the caller has no such job, or it is no longer `abandoned`. `line`: as in `view`.
transition('cancel', { 'allow-oom' }, function()
  memo.whole = a.line
  local job = owned(a.job, a.caller)
  if not job or not is_abandoned(job) then
    return nil
  end
  Runs.leave(job, 'cancelled', nil)
  return Jobs.view(job.id)
end)

local REPEAT_MS = 60000 -- ms in which a repeat, whose first reply was lost, gets the same answer

local PRIVATE = { 'metadata', 'paths', 'response', 'pairs', 'idem', 'call_id', 'retry_of', 'batch', 'hook' }

-- Removes the private fields of a deleted job whose followers still need its work.
local function strip(job)
  for _, name in ipairs(PRIVATE) do
    unset(job, name)
  end
  job.gone, job.till, job.metadata = 1, 0, '{}'
  write(job)
end

-- Deletes work that no job reads any more. Returns the digests of its pictures that have no other holder.
local function delete_work(work)
  local key, entry, orphans = P .. work.id, Runs.cache_key(work, work.print), {}
  if entry and call('GET', entry) == work.id then
    call('DEL', entry)
  end
  Memory.free(work.id)
  Memory.free(work.id .. ':answer')
  delete(work.id)
  call('DEL', key .. ':events', key .. ':followers', key .. ':asked', key .. ':answer')
  Files.release(work.blobs, work.id)
  for digest in words(work.blobs) do
    table.insert(orphans, Files.mark_deleted(digest) and digest or nil)
  end
  return orphans
end

-- Cancels a job if need be and forgets it; what no other job holds goes too, and its webhook is called no more.
-- `delivered`: only if the job is unstored, has ended and has no call to make; `abandoned`: as `cancel`. Returns nil if
-- the caller has no such job, else the digests of pictures without a holder: delete them, then run `deleted`. A repeat
-- within a minute answers the same (purged:<caller>:<job>, a string).
transition('purge', { 'allow-oom' }, function()
  local answered, job = P .. 'purged:' .. a.caller .. ':' .. a.job, owned(a.job, a.caller)
  if not job then
    local before = call('GET', answered)
    return before and cjson.decode(before) or nil
  end
  local may_go = not a.delivered or job.unstored and job.status and not Webhooks.has_pending(job.id)
  if not may_go or not is_abandoned(job) then
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
  local work = job.leader and stored(job.leader) or job
  local held = Runs.is_held(work, job)
  if held and work == job then
    strip(job)
  elseif work ~= job then
    Memory.free(job.id)
    delete(job.id)
  end
  local orphans = held and {} or delete_work(work)
  call('SET', answered, #orphans > 0 and cjson.encode(orphans) or '[]', 'PX', REPEAT_MS)
  return orphans
end)
