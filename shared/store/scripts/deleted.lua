-- The pictures that a purge handed over have been deleted: who waits to upload them again may go on.
--   a      digests
--   writes doomed:<digest> string
--   returns OK
-- @include base

for _, digest in ipairs(a.digests) do
  redis.call('DEL', P .. 'doomed:' .. digest)
end
return 'OK'
