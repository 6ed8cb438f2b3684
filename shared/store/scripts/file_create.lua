-- Keeps the record of a file whose bytes are written and held (touch.lua).
--   a      id, caller, name, purpose, size, digest, life_s, holder (of the upload)
--   writes <file> hash, files:<caller> zset, blob:<digest> zset
--   returns its fields, a flat list
--   repeat the same id changes nothing
-- @include base
-- @include files

keep_file(a)
return redis.call('HGETALL', P .. a.id)
