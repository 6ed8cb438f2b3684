-- Ends jobs whose time has passed when their work moves on; `failures` are the errors (JSON) of those that had not
-- begun (start_by) or ended (finish_by) in time.
-- @include ending

-- Fails the late jobs of a run, or a late job without one. Returns false where no job is left, and how many were late.
-- The start_by of work that has begun is ignored.
local function leave_late(id, name)
  if name == 'start_by' and redis.call('HEXISTS', P .. id, 'started') == 1 then
    return true, 0
  end
  local left = 0
  local jobs = is_run(id) and redis.call('SMEMBERS', P .. id .. ':live') or { id }
  for _, job in ipairs(jobs) do
    local limit = tonumber(redis.call('HGET', P .. job, name) or math.huge)
    if now >= limit and redis.call('HEXISTS', P .. job, 'status') == 0 then
      leave(job, 'failed', a.failures[name])
      left = left + 1
    end
  end
  local state, status = unpack(redis.call('HMGET', P .. id, 'state', 'status'))
  return (state == 'queued' or state == 'running') and not status, left
end
