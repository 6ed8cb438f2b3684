-- Keeps the body of a notice before it is first sent, so that every call of the notice sends the same bytes.
--   a      id (of the call), notice, token
--   text   the body
--   writes <notice> hash
--   returns the body to send, nil where the call is another courier's, or was deleted meanwhile
--   repeat answers the same
-- @include base

if redis.call('HGET', P .. a.id, 'token') ~= a.token then
  return nil
end
local key = P .. a.notice
local body = redis.call('HGET', key, 'body')
if body then
  return body
end
dirty_first()
redis.call('HDEL', key, 'facts', 'result', 'data')
redis.call('HSET', key, 'body', ARGV[2])
return ARGV[2]
