-- Reads what an ended job asked, for a retry.
--   a       job, caller
--   returns {status or '', request or '', metadata, priority, paths or ''}, nil where the caller has no such job
-- @include base

local key = P .. a.job
if not owned(a.job, a.caller) then
  return nil
end
local status, run, metadata, priority, paths =
  unpack(redis.call('HMGET', key, 'status', 'run', 'metadata', 'priority', 'paths'))
local request = redis.call('HGET', run and P .. run or key .. ':asked', 'request')
return { status or '', request or '', metadata, priority, paths or '' }
