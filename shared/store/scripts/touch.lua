-- Holds pictures for the time between their upload and their admission.
--   a      digests, holder, hold_s
--   writes blob:<digest> zset
--   returns OK
-- @include base
-- @include blobs

for _, digest in ipairs(a.digests) do
  hold(digest, a.holder, now + a.hold_s * 1000)
end
return 'OK'
