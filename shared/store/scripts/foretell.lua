-- Says what submit.lua would answer a request now, and changes nothing.
--   a      caller, lane (model's), priority, key, pending (inputs must be fetched, or its time come), max_queued,
--          max_queued_caller, worker_ttl_s
--   reads  prints:<lane> zset, ready:<lane> zset, cache:<key>:<print> string, join:<key> string, queue:<lane> zset
--   returns {hit | joins | queued | removed | draining | full | crowded, what is known of the lane and who is ahead,
--           state of the run that it would join or ''}
-- @include base
-- @include placing
-- @include viewing

local facts = lane_view(a.lane)

local function ahead(count)
  table.insert(facts, 'ahead')
  table.insert(facts, count)
  return facts
end

-- A run of a lower class rises to the class of a job that joins it.
local function ahead_of_joined(run)
  local class, caller, arrival = unpack(redis.call('HMGET', P .. run, 'priority', 'caller', 'arrival'))
  if rank(a.priority) >= rank(class) or not redis.call('ZSCORE', line_key(a.lane, class, caller), run) then
    return ahead_of(run, a.lane)
  end
  local own = redis.call('ZCOUNT', line_key(a.lane, a.priority, caller), '-inf', '(' .. arrival)
  return served_first(a.lane, a.priority, caller, own)
end

if redis.call('SISMEMBER', P .. 'removed', a.lane) == 1 then
  return { 'removed', facts, '' }
end
local hit = a.key and not a.pending and cached(a)
if hit then
  return { 'hit', facts, '' }
end
local run = a.key and not a.pending and joinable(a)
local word = refusal(a, run)
if word then
  return { word, facts, '' }
end
if run then
  return { 'joins', ahead(ahead_of_joined(run)), redis.call('HGET', P .. run, 'state') }
end
local own = redis.call('ZCARD', line_key(a.lane, a.priority, a.caller))
return { 'queued', ahead(served_first(a.lane, a.priority, a.caller, own)), '' }
