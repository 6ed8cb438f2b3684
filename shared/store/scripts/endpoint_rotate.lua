-- Gives an endpoint another secret; the former one signs as well for a while, and earlier ones no longer than they
-- would have.
--   a      id, caller, secret, grace_s, most (former secrets that sign at once)
--   writes <id> hash
--   returns its fields, nil where the caller has no such endpoint
--   repeat the same secret changes nothing
-- @include base
-- @include endpoints

if not owns_endpoint(a.caller, a.id) then
  return nil
end
local key = P .. a.id
local current, last = redis.call('HGET', key, 'secret'), now + a.grace_s * 1000
if current == a.secret then
  return shown(a.id)
end
dirty_first()
-- Those that end last come first: where there are too many, those that end soonest go.
local ends = { { current, last } }
for secret, till in pairs(formers_of(a.id)) do
  redis.call('HDEL', key, 'former:' .. secret)
  table.insert(ends, { secret, math.min(till, last) })
end
table.sort(ends, function(one, other) return one[2] > other[2] end)
for at, former in ipairs(ends) do
  if at <= a.most and former[2] > now then
    redis.call('HSET', key, 'former:' .. former[1], string.format('%.0f', former[2]))
  end
end
redis.call('HSET', key, 'secret', a.secret)
return shown(a.id)
