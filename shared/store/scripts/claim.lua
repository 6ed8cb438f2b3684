-- Takes the best waiting work of one lane under a lease.
--   a      lane, worker, token (128 random bits of the claimer), print (its fingerprint), lease_ms
--   writes queue:<lane> zset, lease zset, running:<lane> set, <work> hash, <work>:attempts list, claim:<token> string
--   returns {id, request, terms, attempt number, published characters, caller,
--           mixed (1 = text was published under another fingerprint)} or nil when nothing waits
--   repeat with the same token (a lost reply) answers the same claim
--   events running {attempt}
-- @include base
-- @include events

local function claimed(id)
  local request, terms, attempt, chars, caller, mixed =
    unpack(redis.call('HMGET', P .. id, 'request', 'terms', 'attempt', 'chars', 'caller', 'mixed'))
  return { id, request, terms or '', attempt, chars or '0', caller, mixed or '' }
end

local again = redis.call('GET', P .. 'claim:' .. a.token)
if again then
  return redis.call('HGET', P .. again, 'token') == a.token and claimed(again) or nil
end

while true do
  local id = redis.call('ZPOPMIN', P .. 'queue:' .. a.lane)[1]
  if not id then
    return nil
  end
  local key = P .. id
  if redis.call('HGET', key, 'state') == 'queued' then
    local attempt = redis.call('HINCRBY', key, 'attempt', 1)
    redis.call('HSET', key, 'state', 'running', 'token', a.token, 'worker', a.worker)
    redis.call('HSETNX', key, 'started', now)
    redis.call('ZADD', P .. 'lease', now + a.lease_ms, id)
    redis.call('SADD', P .. 'running:' .. a.lane, id)
    redis.call('SET', P .. 'claim:' .. a.token, id, 'PX', 60000)
    redis.call('RPUSH', key .. ':attempts', cjson.encode({ number = attempt, worker = a.worker, started = now }))
    if is_run(id) then
      local print = redis.call('HGET', key, 'print')
      if print and print ~= a.print and redis.call('HGET', key, 'chars') ~= '0' then
        redis.call('HSET', key, 'mixed', 1)
      end
      redis.call('HSET', key, 'print', a.print)
      emit(id, 'running', cjson.encode({ attempt = attempt }))
    end
    return claimed(id)
  end
end
