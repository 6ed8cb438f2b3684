-- Ends jobs whose deadline has passed, whatever their runs do.
--   a      limit, wait_ms, failures {start_by, finish_by} (JSON texts), result_s, job_s, event_s,
--          max_events
--   writes deadlines zset, <job> hash, and what ending.lua writes
--   returns the jobs that ended
--   events failed (each job's own)
-- @include base
-- @include ending
-- @include deadlines

dirty_first()
local ended = {}
for _, job in ipairs(redis.call('ZRANGEBYSCORE', P .. 'deadlines', '-inf', now, 'LIMIT', 0, a.limit)) do
  local known, status = redis.call('EXISTS', P .. job) == 1, redis.call('HGET', P .. job, 'status')
  local which = known and not status and not is_newer(job) and passed(job)
  if which then
    leave(job, 'failed', a.failures[which])
    table.insert(ended, job)
  elseif known and not status and is_newer(job) then
    -- Left to a courier who can read it.
    redis.call('ZADD', P .. 'deadlines', now + 5000, job)
  elseif known and not status then
    look_later(job)
  else
    redis.call('ZREM', P .. 'deadlines', job)
  end
end
return ended
