-- Reads a job's events behind one id. The first who is given text of a run in flight marks it as read.
--   a       job, caller, after, limit
--   writes  <run> hash (unread)
--   returns {status or '', closing (1 = the job's own last event comes behind these), newest id, error,
--           run or '', ended, seen, {event, …}}, nil where the caller has no such job; an event is
--           {id, {field, value, …}}, seen holds the run's event `after` where there is one
-- @include base

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
local entries, seen = {}, {}
if run then
  local stream = P .. run .. ':events'
  local after = string.format('%.0f-0', a.after)
  entries = redis.call('XRANGE', stream, '(' .. after, status and last .. '-0' or '+', 'COUNT', a.limit)
  seen = redis.call('XRANGE', stream, after, after)
  if has_text(entries) and redis.call('HEXISTS', P .. run, 'unread') == 1 then
    -- A store that takes no writes now is read all the same: who reads on writes it down.
    redis.pcall('HDEL', P .. run, 'unread')
  end
end
local newest = own == '1' and last + 1 or last
-- A job outlives its run's events: its end is then told from its own record.
local untold = own == '1' or status and #entries == 0
local closing = untold and #entries < a.limit and a.after < newest
return { status or '', closing and 1 or 0, newest, failure or '', run or '', ended or '0', seen, entries }
