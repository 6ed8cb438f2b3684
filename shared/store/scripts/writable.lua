-- Reads whether the server takes writes, by one that changes nothing. Refused are those to a replica, to a server
-- whose disk is full, and to one that has too few replicas. A full memory is no such server: what runs is written.
--   a      gap_ms, grace_ms
--   writes gap hash
--   returns 1 | 0
-- @include base
-- @include watch

local reply = redis.pcall('DEL', P .. 'dirty')
if type(reply) == 'table' then
  return 0
end
notice_gap()
return 1
