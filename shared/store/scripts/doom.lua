-- Marks for deletion those of the named pictures that nobody needs.
--   a      digests
--   writes blob:<digest> zset, doomed:<digest> string
--   returns the digests to delete; run deleted.lua afterwards
-- @include base
-- @include blobs

dirty_first()
local doomed = {}
for _, digest in ipairs(a.digests) do
  if doom(digest) then
    table.insert(doomed, digest)
  end
end
return doomed
