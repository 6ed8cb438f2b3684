-- Ends a batch whose lines are all written down, together with the records of its files.
--   a      id, token, output and error (files as file_create.lua takes them, absent = there is none), event_s, max_events
--   writes <batch> hash, batching zset, <file> hashes, files:<caller> zset, blob:<digest> zset, and what it tells
--   returns written | lost (it is another process's by now, has ended, or has lines still to be answered)
-- @include base
-- @include batch_ending

local key = P .. a.id
local at, last = unpack(redis.call('HMGET', key, 'at', 'last'))
if not works_on(a.id, a.token) or at ~= last or redis.call('EXISTS', key .. ':lines') == 1 then
  return 'lost'
end
dirty_first()
for _, kind in ipairs({ 'output', 'error' }) do
  if a[kind] then
    keep_file(a[kind])
    redis.call('HSET', key, kind, a[kind].id)
  end
end
local stage, late = unpack(redis.call('HMGET', key, 'stage', 'late'))
if stage == 'cancelling' then
  end_batch(a.id, 'cancelled')
else
  end_batch(a.id, tonumber(late) > 0 and 'expired' or 'completed')
end
return 'written'
