-- Reads a page of a caller's files or batches.
--   a       list (files | batches), caller, after (an id, absent = from the beginning), limit, oldest_first
--   writes  <list>:<caller> zset (forgets ids whose record is gone)
--   returns {fields, …}, a flat list each, or nil where `after` is none of the list
-- @include base

local key = P .. a.list .. ':' .. a.caller
local RANK, RANGE = 'ZREVRANK', 'ZREVRANGE'
if a.oldest_first then
  RANK, RANGE = 'ZRANK', 'ZRANGE'
end
local from = 0
if a.after then
  local place = redis.call(RANK, key, a.after)
  if not place then
    return nil
  end
  from = place + 1
end
local found, gone = {}, {}
while #found < a.limit do
  local ids = redis.call(RANGE, key, from, from + a.limit - #found - 1)
  if #ids == 0 then
    break
  end
  for _, id in ipairs(ids) do
    from = from + 1
    local fields = redis.call('HGETALL', P .. id)
    table.insert(#fields > 0 and found or gone, #fields > 0 and fields or id)
  end
end
for _, id in ipairs(gone) do
  redis.call('ZREM', key, id)
end
return found
