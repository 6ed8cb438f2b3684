-- Records that doomed pictures have been deleted: whoever waits to upload them again may go on.
--   a      digests
--   writes doomed:<digest> string
--   returns those that are needed again, where the deletion took longer than its mark: write them again
-- @include base

local wanted = {}
for _, digest in ipairs(a.digests) do
  redis.call('DEL', P .. 'doomed:' .. digest)
  if redis.call('ZCOUNT', P .. 'blob:' .. digest, '(' .. now, '+inf') > 0 then
    table.insert(wanted, digest)
  end
end
return wanted
