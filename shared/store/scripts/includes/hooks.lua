-- A job's webhook: <job>:hook hash (url, host, events, secret; delivered, disabled). What it is to be told are calls:
-- <job>:began and <job>:ended hashes (type, at, tries, result or body, token while a courier has it). A call stands in
-- calls:<host> by the Unix ms of its next try, or in calling:<host> by the end of a courier's lease. hosts has each
-- host by the time at which something is to be done there; early is harmless.

local function job_of(call)
  return string.match(call, '^[^:]+')
end

local function host_of(call)
  return redis.call('HGET', P .. job_of(call) .. ':hook', 'host')
end

local function look_now(host)
  redis.call('ZADD', P .. 'hosts', 'LT', now, host)
end

-- Puts a call in line. The answer lies beside it: it may be told long after the run is forgotten.
local function call_out(job, kind, status, at)
  local call, host = job .. ':' .. kind, redis.call('HGET', P .. job .. ':hook', 'host')
  redis.call('HSET', P .. call, 'type', 'job.' .. status, 'at', at, 'tries', 0)
  local run = status == 'succeeded' and redis.call('HGET', P .. job, 'run')
  local result = run and redis.call('HGET', P .. run, 'result')
  if result then
    redis.call('HSET', P .. call, 'result', result)
  end
  redis.call('ZADD', P .. 'calls:' .. host, now, call)
  look_now(host)
end

-- Tells a job's webhook, where it has one that wants to know.
local function announce(job, kind, status)
  local events, disabled = unpack(redis.call('HMGET', P .. job .. ':hook', 'events', 'disabled'))
  if events and not disabled and string.find(' ' .. events .. ' ', ' job.' .. status .. ' ', 1, true) then
    call_out(job, kind, status, now)
  end
end

local function drop_call(call, host)
  redis.call('DEL', P .. call)
  redis.call('ZREM', P .. 'calls:' .. host, call)
  redis.call('ZREM', P .. 'calling:' .. host, call)
end

local function drop_calls(job)
  local host = redis.call('HGET', P .. job .. ':hook', 'host')
  if host then
    drop_call(job .. ':began', host)
    drop_call(job .. ':ended', host)
  end
end
