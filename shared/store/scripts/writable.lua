-- Reads whether the server takes writes, by a write that changes nothing. A replica refuses it, and so does a server
-- whose disk is full or that has too few replicas. A server with full memory does not: running work is still written.
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
