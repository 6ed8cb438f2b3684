-- What no history of webhooks' calls and endpoints should leave.
-- @include findings
-- @include notices

-- A notice lives as long as calls of it are to be made, or as long as the log keeps it.
local function look_at_notice(notice)
  if redis.call('TTL', P .. notice) == -1 and not has_calls(notice) then
    found('undying_notice')
    keep_notice(notice)
  end
end

-- A webhook's call that waits for no courier would never be made.
local function look_at_call(call, notice)
  local caller, host = place_of(call)
  if gone(notice) then
    found('key_without_owner')
    drop_call(call)
  elseif not redis.call('ZSCORE', P .. 'calls:' .. caller .. ':' .. host, call)
    and not redis.call('ZSCORE', P .. 'calling:' .. caller .. ':' .. host, call) then
    found('call_nowhere')
    redis.call('HDEL', P .. call, 'token')
    await_turn(call, caller, host, now)
    look_now(caller, host)
  end
end

-- Whether a call of a job's own webhook expired with the job's record; that of an unstored job does (keeping.lua).
local function is_over(call)
  local notice, job = string.match(call, '^((.+):%l+):own$')
  return notice and gone(notice) and (gone(job) or redis.call('HEXISTS', P .. job, 'unstored') == 1)
end

-- Takes out calls whose records are gone.
local function drop_gone_calls(name, last)
  for _, call in ipairs(redis.call('ZRANGE', P .. name, 0, last)) do
    if gone(call) then
      redis.call('ZREM', P .. name, call)
      if not is_over(call) then
        found('call_of_nobody')
      end
    end
  end
end

-- The calls of a host that wait, or those under way.
local function look_at_calls(name, caller, host)
  drop_gone_calls(name, OLDEST - 1)
  if not gone(name) and not (redis.call('ZSCORE', P .. 'hosts:' .. caller, host)
    and redis.call('ZSCORE', P .. 'callers', caller)) then
    found('host_without_turn')
    look_now(caller, host)
  end
end

local function look_at_busy(name)
  drop_gone_calls(name, -1)
end

local function look_at_endpoint(id)
  local caller, created = unpack(redis.call('HMGET', P .. id, 'caller', 'created'))
  if not redis.call('ZSCORE', P .. 'endpoints:' .. caller, id) then
    found('endpoint_nowhere')
    redis.call('ZADD', P .. 'endpoints:' .. caller, created, id)
  end
end
