-- Keeps the body of a webhook's call before it is sent: every try sends the same bytes.
--   a      id, token
--   text   the body
--   writes <call> hash
--   returns kept | lost (another courier's, or deleted meanwhile)
-- @include base

if redis.call('HGET', P .. a.id, 'token') ~= a.token then
  return 'lost'
end
dirty_first()
redis.call('HDEL', P .. a.id, 'result')
redis.call('HSET', P .. a.id, 'body', ARGV[2])
return 'kept'
