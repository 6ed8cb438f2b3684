-- Forgets a file. A batch that reads it holds its bytes itself and goes on.
--   a      id, caller
--   writes <file> hash, files:<caller> zset, blob:<digest> zset, doomed:<digest> and purged:<caller>:<id> strings
--   returns nil where the caller has no such file, else the digest of its bytes in a list where nobody needs them any
--           more: delete them, then run deleted.lua
--   repeat within a minute answers the same
-- @include base
-- @include blobs

local REPEAT_MS = 60000

local key, told = P .. a.id, P .. 'purged:' .. a.caller .. ':' .. a.id
if not string.find(a.id, '^file%-%x+$') or redis.call('HGET', key, 'caller') ~= a.caller then
  local before = redis.call('GET', told)
  return before and cjson.decode(before) or nil
end
dirty_first()
local digest = redis.call('HGET', key, 'digest')
redis.call('DEL', key)
redis.call('ZREM', P .. 'files:' .. a.caller, a.id)
release(digest, a.id)
local orphans = doom(digest) and { digest } or {}
redis.call('SET', told, #orphans > 0 and cjson.encode(orphans) or '[]', 'PX', REPEAT_MS)
return orphans
