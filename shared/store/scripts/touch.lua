-- Holds pictures for the time between their upload and their admission.
--   a      digests, holder, hold_s
--   writes blob:<digest> zset
--   reads  doomed:<digest> string
--   returns the digests that are being deleted right now: touch again, and write only when there are none
-- @include base
-- @include blobs

local doomed = {}
for _, digest in ipairs(a.digests) do
  hold(digest, a.holder, now + a.hold_s * 1000)
  if redis.call('EXISTS', P .. 'doomed:' .. digest) == 1 then
    table.insert(doomed, digest)
  end
end
return doomed
