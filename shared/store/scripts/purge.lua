-- Cancels a job if need be and forgets it; what no other job holds goes too.
--   a      job, caller, result_s, job_s
--   writes <job> hash, <run> and all its keys, cache entry, jobs:<caller> zset, blob:<digest> zset,
--          doomed:<digest> string
--   returns nil where the caller has no such job, else the digests of pictures nobody holds any more: delete
--           them, then run deleted.lua
-- @include base
-- @include blobs
-- @include events
-- @include ending

local key = P .. a.job
if not owned(a.job, a.caller) then
  return nil
end
dirty_first()
leave(a.job, 'cancelled', nil)
local run, names = unpack(redis.call('HMGET', key, 'run', 'blobs'))
redis.call('DEL', key, key .. ':attempts')
redis.call('ZREM', P .. 'jobs:' .. a.caller, a.job)

local holder = a.job
if run then
  redis.call('SREM', P .. run .. ':holders', a.job)
  if redis.call('SCARD', P .. run .. ':holders') > 0 then
    return {}
  end
  holder = run
  local entry
  names, entry = unpack(redis.call('HMGET', P .. run, 'blobs', 'entry'))
  if entry and redis.call('GET', entry) == run then
    redis.call('DEL', entry)
  end
  for _, suffix in ipairs({ '', ':events', ':attempts', ':holders', ':live' }) do
    redis.call('DEL', P .. run .. suffix)
  end
end
-- While a picture is being deleted its upload has to wait; a deleter that died is not waited for longer.
local DELETION_MS = 10000
local orphans = {}
for digest in string.gmatch(names or '', '%S+') do
  release(digest, holder)
  if redis.call('ZCOUNT', P .. 'blob:' .. digest, '(' .. now, '+inf') == 0 then
    redis.call('DEL', P .. 'blob:' .. digest)
    redis.call('SET', P .. 'doomed:' .. digest, 1, 'PX', DELETION_MS)
    table.insert(orphans, digest)
  end
end
return orphans
