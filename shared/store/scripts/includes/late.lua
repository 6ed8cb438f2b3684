-- Jobs whose time has passed when their work moves; `failures` are the errors (JSON) of those that had not begun
-- (start_by) or ended (finish_by) in time.
-- @include ending

-- Lets the jobs go whose time has passed, of a run or of a job without one; false where nobody is left, and how many
-- went. Work that has begun is not asked for its start_by.
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
