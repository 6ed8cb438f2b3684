-- Reads a job's events behind one id. The first reader who is given text of a run in flight marks the run as read.
--   a       job, caller, after, limit and bytes (events, or bytes of them, that make a chapter full)
--   writes  <run> hash (unread)
--   returns {status or '', closing (1 = the job's own last event comes behind these), newest id, error,
--           run or '', ended, seen, {event, …}, forgot (1 = this stream knows no event `after`: the store lost it)},
--           nil where the caller has no such job; an event is {id, {field, value, …}}, seen holds the run's event
--           `after` where there is one
-- @include base

-- Events read at once: with logprobs these have hundreds of thousands of bytes.
local STEP = 32

-- What the stream holds behind one id, and whether that is all of it.
local function chapter(stream, after, till)
  local found, bytes = {}, 0
  repeat
    local step = redis.call('XRANGE', stream, '(' .. after, till, 'COUNT', STEP)
    for _, entry in ipairs(step) do
      table.insert(found, entry)
      after, bytes = entry[1], bytes + #entry[2][4]
      if #found == a.limit or bytes >= a.bytes then
        return found, false
      end
    end
  until #step < STEP
  return found, true
end

local function has_text(entries)
  for _, entry in ipairs(entries) do
    if entry[2][2] == 'text' then
      return true
    end
  end
  return false
end

local key = P .. a.job
if not owned(a.job, a.caller) then
  return nil
end
local status, own, last, failure, run, ended =
  unpack(redis.call('HMGET', key, 'status', 'own', 'last', 'error', 'run', 'ended'))
if not status then
  last = run and redis.call('HGET', P .. run, 'seq')
end
last = tonumber(last or 0)
local entries, whole, seen, lacks = {}, true, {}, false
if run then
  local stream = P .. run .. ':events'
  local after = string.format('%.0f-0', a.after)
  entries, whole = chapter(stream, after, status and last .. '-0' or '+')
  seen = redis.call('XRANGE', stream, after, after)
  -- An event that was read stays in its stream for as long as the stream exists.
  lacks = a.after > 0 and a.after <= last and #seen == 0 and redis.call('EXISTS', stream) == 1
  if has_text(entries) and redis.call('HEXISTS', P .. run, 'unread') == 1 then
    -- A store that takes no writes now can still be read: the next read marks the run.
    redis.pcall('HDEL', P .. run, 'unread')
  end
end
local newest = own == '1' and last + 1 or last
-- A job outlives its run's events: its end is then told from its own record.
local untold = own == '1' or status and #entries == 0
local closing = untold and whole and a.after < newest
local forgot = lacks or a.after > newest
return { status or '', closing and 1 or 0, newest, failure or '', run or '', ended or '0', seen, entries, forgot and 1 or 0 }
