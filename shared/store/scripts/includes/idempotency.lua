-- What an idempotency key was used for: idem:<caller>:<key> hash (digest of the body, job).
-- @include viewing

local function known()
  local idem = a.idempotency and P .. 'idem:' .. a.caller .. ':' .. a.idempotency
  if not idem or redis.call('EXISTS', idem) == 0 then
    return nil
  end
  local digest, job = unpack(redis.call('HMGET', idem, 'digest', 'job'))
  if digest ~= a.digest then
    return { 'mismatch' }
  end
  local seen = view(job)
  return seen and { 'known', seen } or { 'purged' }
end
