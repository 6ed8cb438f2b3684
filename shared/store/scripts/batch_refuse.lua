-- Lines that become no job: they are answered as they are taken.
--   a      id, token, at (the byte before the first of them), behind (the byte behind the last), lines {number, custom_id,
--          error (JSON text)}
--   writes <batch> hash, <batch>:lines and <batch>:answers hashes
--   returns written | lost (it is another process's by now)
--   repeat changes nothing
-- @include base
-- @include batches

local key = P .. a.id
if not works_on(a.id, a.token) then
  return 'lost'
end
if redis.call('HGET', key, 'at') == a.at then
  for _, line in ipairs(a.lines) do
    redis.call('HSET', key .. ':lines', line.number, cjson.encode({ custom_id = line.custom_id or '' }))
    redis.call('HSET', key .. ':answers', line.number, cjson.encode({ status = 'refused', error = line.error }))
    redis.call('HSET', key, 'row', line.number)
  end
  redis.call('HSET', key, 'at', a.behind)
end
return 'written'
