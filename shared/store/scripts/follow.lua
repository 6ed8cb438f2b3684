-- Reads a job's events behind one id.
--   a       job, caller, after, limit
--   returns {status or '', closing (1 = the job's own last event comes behind these), last, error, run or '',
--           ended, {{id, {field, value, …}}, …}}, nil where the caller has no such job
-- @include base

local key = P .. a.job
if not owned(a.job, a.caller) then
  return nil
end
local status, own, last, failure, run, ended =
  unpack(redis.call('HMGET', key, 'status', 'own', 'last', 'error', 'run', 'ended'))
local entries = {}
if run then
  local to = status and last .. '-0' or '+'
  entries = redis.call('XRANGE', P .. run .. ':events', string.format('(%.0f-0', a.after), to, 'COUNT', a.limit)
end
local closing = own == '1' and #entries < a.limit and a.after <= tonumber(last)
return { status or '', closing and 1 or 0, last or '0', failure or '', run or '', ended or '0', entries }
