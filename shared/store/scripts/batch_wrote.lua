-- Counts lines whose answers are written down, and takes them from those on their way.
--   a      id, token, numbers (of lines that were taken), or undone {at, behind, row} (the next lines, which are not taken
--          any more: their bytes and the last one's number), completed, failed, late, input_tokens, output_tokens,
--          cached_tokens, good and bad (digests of the written pieces, absent = nothing), holder (of their upload)
--   writes <batch> hash, <batch>:lines and <batch>:answers hashes, <batch>:good and <batch>:bad lists, blob:<digest> zset
--   returns written | lost (it is another process's by now)
--   repeat changes nothing
-- @include base
-- @include batches
-- @include blobs
-- @include lines

local key = P .. a.id
if not works_on(a.id, a.token) then
  return 'lost'
end
if a.undone and redis.call('HGET', key, 'at') ~= a.undone.at
  or not a.undone and redis.call('HEXISTS', key .. ':lines', a.numbers[1]) == 0 then
  return 'written'
end
dirty_first()
if a.undone then
  move_on(a.id, a.undone.behind, a.undone.row)
else
  redis.call('HDEL', key .. ':lines', unpack(a.numbers))
  redis.call('HDEL', key .. ':answers', unpack(a.numbers))
end
for _, count in ipairs({ 'completed', 'failed', 'late', 'input_tokens', 'output_tokens', 'cached_tokens' }) do
  redis.call('HINCRBY', key, count, a[count])
end
for _, kind in ipairs({ 'good', 'bad' }) do
  if a[kind] then
    redis.call('RPUSH', key .. ':' .. kind, a[kind])
    hold(a[kind], a.id, '+inf')
    release(a[kind], a.holder)
  end
end
redis.call('HSET', key, 'wrote', now)
local stage, at, last = unpack(redis.call('HMGET', key, 'stage', 'at', 'last'))
if stage == 'in_progress' and at == last and redis.call('EXISTS', key .. ':lines') == 0 then
  come_to(a.id, 'finalizing')
end
return 'written'
