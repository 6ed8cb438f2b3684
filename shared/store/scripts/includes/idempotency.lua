-- What an idempotency key was used for: idem:<caller>:<key> hash (digest of the body, job, purged = 1 where its caller
-- deleted the job).
-- @include viewing

local function known()
  local idem = a.idempotency and P .. 'idem:' .. a.caller .. ':' .. a.idempotency
  if not idem or redis.call('EXISTS', idem) == 0 then
    return nil
  end
  local digest, job, purged = unpack(redis.call('HMGET', idem, 'digest', 'job', 'purged'))
  if digest ~= a.digest then
    return { 'mismatch' }
  end
  local seen = view(job)
  return seen and { 'known', seen } or { purged and 'purged' or 'expired' }
end
