-- Ends some of the work that waits for a removed model: in its line or, with `walk`, in one of the keys where work waits
-- (for its time, between two attempts, for its inputs or in line). Such work may also end later, in the line or at
-- `admit`. Where the model is served again, only work from before its removal ends.
--   a      lane, limit, failure (JSON), walk {key (schedule | queue:intake | queue:<lane>), cursor ('0' = from the
--          beginning), generation (of the model when the walk began)}, result_s, job_s, event_s, max_events
--   reads  removed set, generations hash
--   writes <work> hash, queue:<lane> and schedule zsets, removing set, and what ending.lua writes
--   returns {how many ended, cursor of the next step ('0' = this walk is over)}
--   repeat harmless
--   events failed
-- @include base
-- @include ending

local removed = redis.call('SISMEMBER', P .. 'removed', a.lane) == 1
if not removed and not a.walk then
  return { 0, '0' }
end
dirty_first()

local function ends(id)
  local lane, model_lane, state = unpack(redis.call('HMGET', P .. id, 'lane', 'model_lane', 'state'))
  if (model_lane or lane) ~= a.lane or is_newer(id) or state == 'running' or not (removed or superseded(id)) then
    return 0
  end
  fail_work(id, a.failure)
  return 1
end

local LINE = 'queue:' .. a.lane
local ended = 0
if not a.walk then
  for _, id in ipairs(redis.call('ZRANGE', P .. LINE, 0, a.limit - 1)) do
    ended = ended + ends(id)
  end
  return { ended, '0' }
end
local found = redis.call('ZSCAN', P .. a.walk.key, a.walk.cursor, 'COUNT', a.limit)
for at = 1, #found[2], 2 do
  ended = ended + ends(found[2][at])
end
-- A model that was removed again meanwhile is walked for anew.
if found[1] == '0' and a.walk.key == LINE and a.walk.generation == generation_of(a.lane) then
  redis.call('SREM', P .. 'removing', a.lane)
end
return { ended, found[1] }
