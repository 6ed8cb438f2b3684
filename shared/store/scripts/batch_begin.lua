-- Records that a batch's file was looked through: its lines may be taken.
--   a      id, token, total (lines), last (the byte behind the last of them), doubles (numbers of lines whose custom_id
--          stands in an earlier one), errors (JSON text, absent = none)
--   writes <batch> hash, <batch>:doubles zset
--   returns written | lost (it is another process's by now)
--   repeat changes nothing
-- @include base
-- @include batches

local key = P .. a.id
if not works_on(a.id, a.token) then
  return 'lost'
end
if redis.call('HEXISTS', key, 'total') == 1 then
  return 'written'
end
redis.call('HSET', key, 'total', a.total, 'last', string.format('%.0f', a.last))
if a.errors then
  redis.call('HSET', key, 'errors', a.errors)
end
for _, number in ipairs(a.doubles) do
  redis.call('ZADD', key .. ':doubles', number, number)
end
if stage_of(a.id) == 'validating' then
  come_to(a.id, 'in_progress')
end
return 'written'
