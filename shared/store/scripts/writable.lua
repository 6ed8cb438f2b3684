-- Reads whether the server takes writes, by one that changes nothing. Refused are those to a replica, to a server
-- whose disk or memory is full, and to one that has too few replicas.
--   a      nothing
--   returns 1 | 0
-- @include base

local reply = redis.pcall('SETRANGE', P .. 'writable', 0, '')
return type(reply) == 'table' and 0 or 1
