-- Reads a page of what operators did, newest first.
--   a       after (id, absent = from the newest), limit
--   returns {{id, fields}, …}, fields a flat list
-- @include base

return redis.call('XREVRANGE', P .. 'deeds', a.after and '(' .. a.after or '+', '-', 'COUNT', a.limit)
