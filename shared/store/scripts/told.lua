-- Writes down how a try of a webhook's call went: it is over, or made again later.
--   a      id, token, row (JSON text {event, at, ms, status, error}), taken (true = the receiver has it),
--          gone (true = it wants no more of this job), delay_ms (until the next try; absent = there is none), job_s
--   writes <call> hash, <job>:hook hash, <job>:deliveries list, calls:<host>, calling:<host> and hosts zsets
--   returns written | lost (another courier's, or deleted meanwhile; a repeat)
-- @include base
-- @include hooks
-- @include keeping

-- Rows that a job keeps: two calls of ten tries and some replays.
local ROWS = 50

if redis.call('HGET', P .. a.id, 'token') ~= a.token then
  return 'lost'
end
dirty_first()
local job, host = job_of(a.id), host_of(a.id)
redis.call('ZREM', P .. 'calling:' .. host, a.id)
redis.call('HDEL', P .. a.id, 'token')
redis.call('RPUSH', P .. job .. ':deliveries', a.row)
redis.call('LTRIM', P .. job .. ':deliveries', -ROWS, -1)
if a.gone then
  redis.call('HSET', P .. job .. ':hook', 'disabled', 1)
  drop_calls(job)
elseif a.delay_ms then
  redis.call('HINCRBY', P .. a.id, 'tries', 1)
  redis.call('ZADD', P .. 'calls:' .. host, now + a.delay_ms, a.id)
else
  redis.call('DEL', P .. a.id)
end
if a.taken and a.id == job .. ':ended' then
  redis.call('HSETNX', P .. job .. ':hook', 'delivered', now)
end
if redis.call('HEXISTS', P .. job, 'status') == 1 then
  expire_job(job)
end
look_now(host)
return 'written'
