-- Holds pictures for the time between their upload and their admission.
--   a      digests, holder, hold_s
--   writes blob:<digest> zset
--   returns OK
-- @include base

for _, digest in ipairs(a.digests) do
  redis.call('ZADD', P .. 'blob:' .. digest, now + a.hold_s * 1000, a.holder)
end
return 'OK'
