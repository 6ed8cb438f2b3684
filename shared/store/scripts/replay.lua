-- Tells a job's webhook its end again, from the first try, whatever became of it before.
--   a      job, caller, worker_ttl_s
--   writes <job>:ended and <job>:hook hashes, calls:<host> and hosts zsets
--   returns {word} for unhooked (it has none) | unended | expired (its answer is no longer kept), {queued, view}, nil
--           where the caller has no such job
--   repeat harmless: what waits is told at once, what a courier has is left alone
-- @include base
-- @include hooks
-- @include viewing

if not owned(a.job, a.caller) then
  return nil
end
local status, run, ended = unpack(redis.call('HMGET', P .. a.job, 'status', 'run', 'ended'))
local call, host = a.job .. ':ended', host_of(a.job)
if not host then
  return { 'unhooked' }
end
if not status then
  return { 'unended' }
end
if redis.call('EXISTS', P .. call) == 0 then
  if status == 'succeeded' and redis.call('HEXISTS', P .. run, 'result') == 0 then
    return { 'expired' }
  end
  call_out(a.job, 'ended', status, ended)
elseif not redis.call('ZSCORE', P .. 'calling:' .. host, call) then
  redis.call('HSET', P .. call, 'tries', 0)
  redis.call('ZADD', P .. 'calls:' .. host, now, call)
  look_now(host)
end
redis.call('HDEL', P .. a.job .. ':hook', 'disabled')
for _, suffix in ipairs({ '', ':attempts', ':hook', ':deliveries' }) do
  redis.call('PERSIST', P .. a.job .. suffix)
end
return { 'queued', view(a.job) }
