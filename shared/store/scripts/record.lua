-- Reads one file or batch of a caller.
--   a       kind (file | batch), id, caller
--   returns its fields, a flat list, or nil where the caller has none of this id
-- @include base

-- The id may be anything a stranger typed: it must not reach our other keys.
local KINDS = { file = '^file%-%x+$', batch = '^batch_%x+$' }
if not string.find(a.id, KINDS[a.kind]) or redis.call('HGET', P .. a.id, 'caller') ~= a.caller then
  return nil
end
return redis.call('HGETALL', P .. a.id)
