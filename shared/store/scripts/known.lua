-- Looks an idempotency key up, before anything else is asked of a repeated request.
--   a      caller, idempotency (digest of the key), digest (of the body), worker_ttl_s
--   reads  idem:<caller>:<key> hash
--   returns {word} for mismatch | purged | expired, {known, view}, nil where the key is new
-- @include base
-- @include idempotency

return known()
