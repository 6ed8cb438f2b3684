-- Publishes the next piece of a running run's text.
--   a      id, token, start (offset in code points), size (code points), choice (which of several answers it is of)
--   text   the event's data, as JSON
--   writes <run> hash (seq, chars, chars:<choice>), <run>:events stream
--   returns ok | lost (the claim is another's, the run has ended, or the store forgot text in a crash: a piece that
--           does not follow on the published text would splice the stream)
--   repeat a piece that is published already answers ok and changes nothing
--   events text {choice (of several answers), syntax (where calls may stand in it), prompt_tokens (in the first), start,
--           text, ids, logprobs (where they are asked for)}
-- @include base
-- @include text

if redis.call('HGET', P .. a.id, 'token') ~= a.token then
  return 'lost'
end
return publish(a.id, a, ARGV[2]) and 'ok' or 'lost'
