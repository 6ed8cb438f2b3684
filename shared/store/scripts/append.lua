-- Publishes the next piece of a running run's text.
--   a      id, token, start (offset in code points), size (code points)
--   text   the event's data, as JSON
--   writes <run> hash (seq, chars), <run>:events stream
--   returns ok | lost (the claim is another's, the run has ended, or the store forgot text in a crash: what
--           does not follow on the published text would splice the stream)
--   repeat a piece that is published already answers ok and changes nothing
--   events text {start, text, ids}
-- @include base
-- @include events

local token, chars = unpack(redis.call('HMGET', P .. a.id, 'token', 'chars'))
if token ~= a.token then
  return 'lost'
end
if a.start + a.size <= tonumber(chars) then
  return 'ok'
end
if a.start ~= tonumber(chars) then
  return 'lost'
end
dirty_first()
redis.call('HINCRBY', P .. a.id, 'chars', a.size)
emit(a.id, 'text', ARGV[2])
return 'ok'
