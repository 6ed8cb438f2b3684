-- Reads a page of a caller's jobs, newest first.
--   a       caller, after (a job's id or a cursor, absent = from the newest), limit, look (jobs looked at for one page
--           at most), bytes (of records on one page at most, unless it has one job), worker_ttl_s, bare (true = without
--           answers), and the filter: status, model, priority, since and till (Unix ms, created then or later, created
--           before), pairs (digests of metadata)
--   writes  jobs:<caller> and pair:<caller>:<digest> zsets (forgets jobs whose record is gone)
--   returns {{view, …}, cursor of the next page or '', bytes}, or nil where `after` is no cursor and none of the caller's jobs
-- @include base
-- @include pairs
-- @include viewing

local STEP = 100
local source, everything = nil, P .. 'jobs:' .. a.caller
local fewest = math.huge

-- The shortest list that holds all wanted jobs; the rest of the filter is looked up in the records.
for _, key in ipairs(lists_of(a.caller, a.pairs or {})) do
  local size = redis.call('ZCARD', key)
  if size <= fewest then
    source, fewest = key, size
  end
end

-- The moment and id of a cursor or job. A cursor names the last job that was looked at, which may be gone by now.
local function place_of(after)
  local created, job = string.match(after, '^(%d+)%-(job_%x+)$')
  return created or redis.call('ZSCORE', everything, after), job or after
end

-- The rank of the first job behind a place, newest first.
local function behind(created, job)
  local from = redis.call('ZCOUNT', source, '(' .. created, '+inf')
  for _, other in ipairs(redis.call('ZREVRANGEBYSCORE', source, created, created)) do
    from = from + (other >= job and 1 or 0)
  end
  return from
end

-- Whether a job is wanted; nil where its record is gone.
local function wanted(job)
  local model, priority, status, run, pairs =
    unpack(redis.call('HMGET', P .. job, 'model', 'priority', 'status', 'run', 'pairs'))
  if not model then
    return nil
  end
  for _, digest in ipairs(a.pairs or {}) do
    if not string.find(pairs or '', digest, 1, true) then
      return false
    end
  end
  if a.status and not status then
    status = run and redis.call('HEXISTS', P .. run, 'started') == 1 and 'running' or 'queued'
  end
  return (not a.model or a.model == model)
    and (not a.priority or a.priority == priority)
    and (not a.status or a.status == status)
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
  from = math.max(from, redis.call('ZCOUNT', source, a.till, '+inf'))
end
local ending = redis.call('ZCOUNT', source, a.since or '-inf', '+inf')
local views, gone, bytes = {}, {}, 0

-- The size of a job's record and of its run's, which holds the answer.
local function bytes_of(found)
  local sum = 0
  for _, record in ipairs({ found[2], found[3] }) do
    for _, word in ipairs(record) do
      sum = sum + #word
    end
  end
  return sum
end

-- Puts a job on the page; false where there is no room.
local function put(job)
  if #views == a.limit then
    return false
  end
  local found = view(job, a.bare)
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
    local found = redis.call('ZREVRANGE', source, from, math.min(from + STEP, ending) - 1, 'WITHSCORES')
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
  redis.call('ZREM', everything, job)
  redis.call('ZREM', source, job)
end
return { views, cursor, bytes }
