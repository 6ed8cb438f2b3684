-- Calls of webhooks: one for each notice (notices.lua) and each target, which is an endpoint's id or `own`, the webhook
-- that the job itself named.
--   <notice>:<target>        hash  caller, host, tries, since (when it was put where it stands); asked = 1 where the
--                                  caller asked for this one, token while a courier has it
--   calls:<caller>:<host>    zset  calls that wait, by the time of their next try
--   calling:<caller>:<host>  zset  calls under way, by the end of their courier's lease
--   busy:<caller>            zset  calls under way to all hosts, likewise
--   hosts:<caller>           zset  hosts, by the time at which something is to be done there, or of their last turn
--   callers                  zset  callers, likewise; early is harmless

local function look_now(caller, host)
  redis.call('ZADD', P .. 'hosts:' .. caller, 'LT', now, host)
  redis.call('ZADD', P .. 'callers', 'LT', now, caller)
end

local function place_of(call)
  return unpack(redis.call('HMGET', P .. call, 'caller', 'host'))
end

-- Lets a call wait until then (Unix ms).
local function await_turn(call, caller, host, at)
  redis.call('HSET', P .. call, 'since', now)
  redis.call('ZADD', P .. 'calls:' .. caller .. ':' .. host, at, call)
end

-- Puts a call in line. A call that waits already is due at once, with no tries; one that a courier has is left alone.
local function call_out(call, caller, host, asked)
  if redis.call('HEXISTS', P .. call, 'token') == 1 and redis.call('ZSCORE', P .. 'busy:' .. caller, call) then
    return
  end
  local _, before = place_of(call)
  if before then
    redis.call('ZREM', P .. 'calls:' .. caller .. ':' .. before, call)
  end
  redis.call('HSET', P .. call, 'caller', caller, 'host', host, 'tries', 0)
  if asked then
    redis.call('HSET', P .. call, 'asked', 1)
  end
  await_turn(call, caller, host, now)
  look_now(caller, host)
end

-- Takes a call from its courier.
local function hang_up(call, caller, host)
  redis.call('ZREM', P .. 'busy:' .. caller, call)
  redis.call('ZREM', P .. 'calling:' .. caller .. ':' .. host, call)
  redis.call('HDEL', P .. call, 'token')
end

local function drop_call(call)
  local caller, host = place_of(call)
  if caller then
    hang_up(call, caller, host)
    redis.call('ZREM', P .. 'calls:' .. caller .. ':' .. host, call)
    redis.call('DEL', P .. call)
  end
end
