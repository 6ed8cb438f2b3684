-- Takes the next call of a webhook that is due, under a lease; hosts that are called often enough are passed over.
--   a      token, lease_ms, per_host (calls of one host at once), worker_ttl_s
--   writes calls:<host>, calling:<host> and hosts zsets, <call> hash, claim:<token> string
--   returns {id, url, secret, type, at, tries, body, result, view}, nil where nothing is due; body is empty until
--           it was kept (kept.lua), result where there is none
--   repeat with the same token (a lost reply) answers the same call
-- @include base
-- @include hooks
-- @include viewing

-- So many hosts, and strays of one, are looked at.
local LIMIT = 100
local CLAIM_MS = 60000

local function given(call)
  local job = job_of(call)
  local url, secret = unpack(redis.call('HMGET', P .. job .. ':hook', 'url', 'secret'))
  local type, at, tries, body, result = unpack(redis.call('HMGET', P .. call, 'type', 'at', 'tries', 'body', 'result'))
  return { call, url, secret or '', type, at, tries, body or '', result or '', view(job) }
end

-- What a courier was given and did not come back with is another's.
local function take_back(host)
  for _, call in ipairs(redis.call('ZRANGEBYSCORE', P .. 'calling:' .. host, '-inf', now, 'LIMIT', 0, LIMIT)) do
    redis.call('ZREM', P .. 'calling:' .. host, call)
    if redis.call('EXISTS', P .. call) == 1 then
      redis.call('HDEL', P .. call, 'token')
      redis.call('ZADD', P .. 'calls:' .. host, now, call)
    end
  end
end

local function first_due(host)
  if redis.call('ZCARD', P .. 'calling:' .. host) >= a.per_host then
    return nil
  end
  for _, call in ipairs(redis.call('ZRANGEBYSCORE', P .. 'calls:' .. host, '-inf', now, 'LIMIT', 0, LIMIT)) do
    redis.call('ZREM', P .. 'calls:' .. host, call)
    if redis.call('EXISTS', P .. call, P .. job_of(call)) == 2 then
      return call
    end
  end
end

local function lease(call, host)
  redis.call('HSET', P .. call, 'token', a.token)
  redis.call('ZADD', P .. 'calling:' .. host, now + a.lease_ms, call)
  redis.call('SET', P .. 'claim:' .. a.token, call, 'PX', CLAIM_MS)
end

-- When something is to be done for a host again.
local function look_later_at(host)
  local due = redis.call('ZRANGE', P .. 'calls:' .. host, 0, 0, 'WITHSCORES')[2]
  local lease_end = redis.call('ZRANGE', P .. 'calling:' .. host, 0, 0, 'WITHSCORES')[2]
  if redis.call('ZCARD', P .. 'calling:' .. host) >= a.per_host then
    due = nil
  end
  local at = math.min(tonumber(due or math.huge), tonumber(lease_end or math.huge))
  if at == math.huge then
    redis.call('ZREM', P .. 'hosts', host)
  else
    redis.call('ZADD', P .. 'hosts', string.format('%.0f', at), host)
  end
end

local again = redis.call('GET', P .. 'claim:' .. a.token)
if again then
  return redis.call('HGET', P .. again, 'token') == a.token and given(again) or nil
end
dirty_first()
for _, host in ipairs(redis.call('ZRANGEBYSCORE', P .. 'hosts', '-inf', now, 'LIMIT', 0, LIMIT)) do
  take_back(host)
  local call = first_due(host)
  if call then
    lease(call, host)
  end
  look_later_at(host)
  if call then
    return given(call)
  end
end
return nil
