-- Tells a job's own webhook its end again, from the first try, whatever became of it before.
--   a      job, caller, job_s, worker_ttl_s, event_s, max_events
--   writes <job>:ended and <job>:hook hashes, the lines of calls.lua
--   returns {word} for unhooked (it has none) | unended | expired (its answer is no longer kept), {queued, view}, nil
--           where the caller has no such job
--   repeat harmless: a call that waits is due at once, one that a courier has is left alone
-- @include base
-- @include hooks
-- @include viewing

if not owned(a.job, a.caller) then
  return nil
end
local status, run, ended = unpack(redis.call('HMGET', P .. a.job, 'status', 'run', 'ended'))
local notice, host = a.job .. ':ended', redis.call('HGET', P .. a.job .. ':hook', 'host')
if not host then
  return { 'unhooked' }
end
if not status then
  return { 'unended' }
end
if redis.call('EXISTS', P .. notice) == 0 then
  if status == 'succeeded' and redis.call('HEXISTS', P .. run, 'result') == 0 then
    return { 'expired' }
  end
  local record = fields_at(P .. a.job, JOB_TOLD)
  redis.call('HSET', P .. notice, 'type', 'job.' .. status, 'caller', a.caller, 'at', ended, unpack(seen(record, answer_told(record))))
end
tell_to(notice, 'own', a.caller, host)
keep_notice(notice)
redis.call('HDEL', P .. a.job .. ':hook', 'disabled')
if redis.call('HEXISTS', P .. a.job, 'unstored') == 1 then
  local left = redis.call('PTTL', P .. a.job)
  redis.call('PEXPIRE', P .. notice, left)
  redis.call('PEXPIRE', P .. notice .. ':own', left)
else
  for _, suffix in ipairs({ '', ':attempts', ':hook', ':deliveries' }) do
    redis.call('PERSIST', P .. a.job .. suffix)
  end
end
return { 'queued', view(a.job) }
