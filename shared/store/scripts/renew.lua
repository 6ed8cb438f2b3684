-- Renews every lease one worker holds.
--   a      claims {{id, token}, …}, lease_ms
--   writes lease zset
--   returns the tokens that are no longer good
-- @include base

dirty_first()
local lost = {}
for _, claim in ipairs(a.claims) do
  if redis.call('HGET', P .. claim[1], 'token') == claim[2] then
    redis.call('ZADD', P .. 'lease', now + a.lease_ms, claim[1])
  else
    table.insert(lost, claim[2])
  end
end
return lost
