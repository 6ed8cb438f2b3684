-- Admits a job whose inputs have been fetched; it was accepted before and is never refused.
--   a      job, token (of the intake claim), removed (JSON, the job's error where its model was removed), the placing
--          spec of placing.lua, failures (see late.lua)
--   text   the request with its pictures' digests
--   writes as submit.lua; takes the job out of lease, and drops its <job>:attempts list
--   returns queued (a new run waits) | placed (hit or joined, or ended) | lost (the claim is another's)
--   repeat with the same token after success: placed
--   events queued, where a new run waits
-- @include base
-- @include placing
-- @include late

local key = P .. a.job
if redis.call('HGET', key, 'admitted') == a.token then
  return 'placed'
end
if redis.call('HGET', key, 'token') ~= a.token or redis.call('HEXISTS', key, 'status') == 1 then
  return 'lost'
end
if redis.call('SISMEMBER', P .. 'removed', a.lane) == 1 or superseded(a.job) then
  redis.call('HSET', key, 'admitted', a.token)
  let_go(a.job)
  fail_work(a.job, a.removed)
  return 'placed'
end
if not leave_late(a.job, 'finish_by') then
  redis.call('HSET', key, 'admitted', a.token)
  let_go(a.job)
  return 'placed'
end
unlease(a.job, 'intake')
for digest in string.gmatch(redis.call('HGET', key, 'blobs') or '', '%S+') do
  release(digest, a.job)
end
redis.call('HDEL', key, 'token', 'worker', 'request', 'state', 'arrival', 'charged', 'terms', 'blobs',
  'generation')
redis.call('HSET', key, 'admitted', a.token, 'lane', a.lane)
redis.call('DEL', key .. ':attempts')

local hit = a.key and cached(a)
local run = a.key and not hit and joinable(a)
if hit then
  subscribe_ended(a.job, hit)
elseif run then
  join(a.job, run, a)
else
  open_run(a.job, a, ARGV[2])
end
wake(a.job, 'state')
return (hit or run) and 'placed' or 'queued'
