-- Reads a page of what operators did, newest first.
--   a       after (id, absent = from the newest), limit
--   returns {{id, fields}, …}, fields a flat list
-- @include base

-- The server refuses a range that ends before the first possible id.
if a.after and not a.after:find('[1-9]') then return {} end
return redis.call('XREVRANGE', P .. 'deeds', a.after and '(' .. a.after or '+', '-', 'COUNT', a.limit)
