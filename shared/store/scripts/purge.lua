-- Cancels a job if need be and forgets it; what no other job holds goes too, and its webhook is told nothing more.
--   a      job, caller, delivered (true = only where the job is unstored, has ended and no webhook is still to be told),
--          result_s, job_s, event_s, max_events
--   writes <job> and <run> with all their keys, cache entry, jobs:<caller> and pair:<caller>:<digest> zsets,
--          blob:<digest> zset, holdings:<part> hash, idem:<caller>:<key>, doomed:<digest> and
--          purged:<caller>:<job> strings
--   repeat within a minute answers the same
--   returns nil where the caller has no such job, else the digests of pictures nobody holds any more: delete
--           them, then run deleted.lua
-- @include base
-- @include ending
-- @include holders
-- @include holdings
-- @include pairs

-- For so long a repeat, whose first reply was lost, gets the same answer.
local REPEAT_MS = 60000

local key, told = P .. a.job, P .. 'purged:' .. a.caller .. ':' .. a.job
if not owned(a.job, a.caller) then
  local before = redis.call('GET', told)
  return before and cjson.decode(before) or nil
end

local status, unstored, idem, keyed = unpack(redis.call('HMGET', key, 'status', 'unstored', 'idem', 'keyed'))
if a.delivered and (not unstored or not status or untold(a.job)) then
  return nil
end
dirty_first()
leave(a.job, 'cancelled', nil)
if idem then
  redis.call('DEL', P .. 'idem:' .. a.caller .. ':' .. idem)
end
if keyed and redis.call('HGET', P .. 'idem:' .. a.caller .. ':' .. keyed, 'job') == a.job then
  redis.call('HSET', P .. 'idem:' .. a.caller .. ':' .. keyed, 'purged', 1)
end
local run, names, cache, holding = unpack(redis.call('HMGET', key, 'run', 'blobs', 'cache', 'holding'))
drop_notices(a.job)
unlist(a.job, a.caller)
redis.call('DEL', key, key .. ':attempts', key .. ':asked', key .. ':hook', key .. ':deliveries')

local holder = a.job
if run then
  redis.call('SREM', P .. run .. ':holders', a.job)
  if held(run) then
    local opened = cache == 'MISS' or cache == 'BYPASS'
    if opened and holding and redis.call('EXISTS', P .. run) == 1 then
      -- The job's holding counted the run as well, which is still there.
      redis.call('HSET', P .. run, 'holding', holding)
    else
      give_back_holding(a.caller, holding)
    end
    redis.call('SET', told, '[]', 'PX', REPEAT_MS)
    return {}
  end
  holder = run
  local entry, caller, of_run
  names, entry, caller, of_run = unpack(redis.call('HMGET', P .. run, 'blobs', 'entry', 'caller', 'holding'))
  give_back_holding(caller, of_run)
  if entry and redis.call('GET', entry) == run then
    redis.call('DEL', entry)
  end
  for _, suffix in ipairs({ '', ':events', ':attempts', ':holders', ':live' }) do
    redis.call('DEL', P .. run .. suffix)
  end
end
give_back_holding(a.caller, holding)
local orphans = {}
for digest in string.gmatch(names or '', '%S+') do
  release(digest, holder)
  if doom(digest) then
    table.insert(orphans, digest)
  end
end
redis.call('SET', told, #orphans > 0 and cjson.encode(orphans) or '[]', 'PX', REPEAT_MS)
return orphans
