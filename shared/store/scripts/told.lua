-- Records how a try of a webhook's call went: the call is over, or is tried again later.
--   a      id, notice, target, token, url (that was called), row (JSON text {event, at, ms, status, error}; for an
--          endpoint id as well), taken (true = the receiver has it), gone (true = it wants no more), delay_ms (until
--          the next try; absent = there is none), job_s, event_s, max_events
--   writes <call> and <notice> hashes, the lines of calls.lua; <job>:hook hash and <job>:deliveries list, or the
--          endpoint's hash and list
--   returns written | moved (written; its endpoint has another url by now, and is called there at once) | forget
--           (written, and its job is not to be stored: purge.lua) | lost (another courier's, or deleted meanwhile; a
--           repeat)
-- @include base
-- @include hooks
-- @include keeping

-- Rows that a job keeps (two calls of ten tries and some replays), and that an endpoint keeps.
local JOB_ROWS, ENDPOINT_ROWS = 50, 200

local function log_row(owner, rows)
  redis.call('RPUSH', P .. owner .. ':deliveries', a.row)
  redis.call('LTRIM', P .. owner .. ':deliveries', -rows, -1)
end

local function tell_job(job)
  log_row(job, JOB_ROWS)
  if a.gone then
    redis.call('HSET', P .. job .. ':hook', 'disabled', 1)
    drop_call(job .. ':began:own')
    drop_call(job .. ':ended:own')
    keep_notice(job .. ':began')
    keep_notice(job .. ':ended')
  end
  if a.taken and a.notice == job .. ':ended' then
    redis.call('HSETNX', P .. job .. ':hook', 'delivered', now)
  end
end

-- The host of the url that the endpoint was given meanwhile: that its former url is gone says nothing about this one.
local function host_moved_to()
  local url, host = unpack(redis.call('HMGET', P .. a.target, 'url', 'host'))
  return a.gone and url and url ~= a.url and host
end

-- Calls that wait for a disabled endpoint are forgotten when their turn comes.
local function tell_endpoint(id)
  if redis.call('EXISTS', P .. id) == 1 then
    log_row(id, ENDPOINT_ROWS)
    if a.gone then
      disable_endpoint(id, 'gone')
    end
  end
end

if redis.call('HGET', P .. a.id, 'token') ~= a.token then
  return 'lost'
end
dirty_first()
local caller, host = place_of(a.id)
local job = a.target == 'own' and string.match(a.notice, '^[^:]+')
local moved = host_moved_to()
hang_up(a.id, caller, host)
look_now(caller, host)
if moved then
  a.gone, a.delay_ms, host = nil, 0, moved
  redis.call('HSET', P .. a.id, 'host', host)
  look_now(caller, host)
end
if a.delay_ms and not a.gone then
  redis.call('HINCRBY', P .. a.id, 'tries', 1)
  await_turn(a.id, caller, host, now + a.delay_ms)
else
  redis.call('DEL', P .. a.id)
  keep_notice(a.notice)
end
if job then
  tell_job(job)
else
  tell_endpoint(a.target)
end
if moved then
  return 'moved'
end
local record = job and fields_at(P .. job, JOB_TOLD) or {}
if record.status then
  expire_job(job, record, true)
end
return record.status and record.unstored and not untold(job) and 'forget' or 'written'
