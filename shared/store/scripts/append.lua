-- Publishes the next piece of a running run's text.
--   a      id, token, start (offset in code points), size (code points)
--   text   the event's data, as JSON
--   writes <run> hash (seq, chars), <run>:events stream
--   returns ok | lost (the claim is another's, or the run has ended)
--   repeat a piece that is published already answers ok and changes nothing
--   events text {start, text, ids}
-- @include base
-- @include events

local token, chars = unpack(redis.call('HMGET', P .. a.id, 'token', 'chars'))
if token ~= a.token then
  return 'lost'
end
if a.start < tonumber(chars) then
  return 'ok'
end
dirty_first()
redis.call('HINCRBY', P .. a.id, 'chars', a.size)
emit(a.id, 'text', ARGV[2])
return 'ok'
