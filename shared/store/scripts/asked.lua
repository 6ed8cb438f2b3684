-- Reads what a job asked, for a retry or a response.
--   a       job, caller
--   returns {status or '', request or '', metadata, priority, paths or '', unstored or ''}, nil where the caller has no such job
-- @include base

local key = P .. a.job
if not owned(a.job, a.caller) then
  return nil
end
local status, run, metadata, priority, paths, unstored =
  unpack(redis.call('HMGET', key, 'status', 'run', 'metadata', 'priority', 'paths', 'unstored'))
local request = redis.call('HGET', run and P .. run or status and key .. ':asked' or key, 'request')
return { status or '', request or '', metadata, priority, paths or '', unstored or '' }
