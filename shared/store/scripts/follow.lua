-- Reads a job's events behind one id.
--   a       job, caller, after, limit
--   returns {status or '', own, last, error, run or '', ended, {{id, {field, value, …}}, …}},
--           nil where the caller has no such job
-- @include base

local key = P .. a.job
if redis.call('HGET', key, 'caller') ~= a.caller then
  return nil
end
local status, own, last, failure, run, ended =
  unpack(redis.call('HMGET', key, 'status', 'own', 'last', 'error', 'run', 'ended'))
local entries = {}
if run then
  local to = status and last .. '-0' or '+'
  entries = redis.call('XRANGE', P .. run .. ':events', '(' .. a.after .. '-0', to, 'COUNT', a.limit)
end
return { status or '', own or '0', last or '0', failure or '', run or '', ended or '0', entries }
