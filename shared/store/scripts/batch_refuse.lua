-- Takes a line that becomes no job, and answers it with an error in the same step.
--   a      id, token, number, at and behind (the bytes where it begins and ends), custom_id (absent = it has none),
--          error (JSON text)
--   writes <batch> hash, <batch>:lines and <batch>:answers hashes
--   returns written | lost (it is another process's by now)
--   repeat changes nothing
-- @include base
-- @include batches
-- @include lines

local key = P .. a.id
if not works_on(a.id, a.token) then
  return 'lost'
end
if redis.call('HGET', key, 'at') == a.at then
  redis.call('HSET', key .. ':lines', a.number, cjson.encode({ custom_id = a.custom_id or '' }))
  redis.call('HSET', key .. ':answers', a.number, cjson.encode({ status = 'refused', error = a.error }))
  move_on(a.id, a.behind, a.number)
end
return 'written'
