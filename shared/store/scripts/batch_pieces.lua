-- Reads what was written of a batch's files.
--   a       id, token
--   returns nil where it is another process's by now, else the digests of {the output file's pieces, the error file's}
-- @include base
-- @include batches

if not works_on(a.id, a.token) then
  return nil
end
return { redis.call('LRANGE', P .. a.id .. ':good', 0, -1), redis.call('LRANGE', P .. a.id .. ':bad', 0, -1) }
