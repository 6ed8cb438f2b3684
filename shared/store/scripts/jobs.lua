-- Reads a page of a caller's jobs, newest first.
--   a       caller, after (job id, absent = from the newest), limit, worker_ttl_s
--   writes  jobs:<caller> zset (forgets jobs whose record is gone)
--   returns {view, …}, or nil where `after` is not one of the caller's jobs
-- @include base
-- @include viewing

local key = P .. 'jobs:' .. a.caller
local from = 0
if a.after then
  from = redis.call('ZREVRANK', key, a.after)
  if not from then
    return nil
  end
  from = from + 1
end
local views, gone = {}, {}
while #views < a.limit do
  local ids = redis.call('ZREVRANGE', key, from, from + a.limit - 1)
  if #ids == 0 then
    break
  end
  for _, job in ipairs(ids) do
    from = from + 1
    local seen = #views < a.limit and view(job)
    if seen then
      table.insert(views, seen)
    elseif seen == nil then
      table.insert(gone, job)
    end
  end
end
for _, job in ipairs(gone) do
  redis.call('ZREM', key, job)
end
return views
