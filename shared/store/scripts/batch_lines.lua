-- Reads lines of a batch that are on their way.
--   a       id, token, answered (true = those that have ended, else those that have not), limit
--   returns nil where it is another process's by now, else {{number, line, answer or ''}, …}
-- @include base
-- @include batches

local key = P .. a.id
if not works_on(a.id, a.token) then
  return nil
end
local found = {}
for _, number in ipairs(redis.call('HKEYS', key .. (a.answered and ':answers' or ':lines'))) do
  local line, answer = redis.call('HGET', key .. ':lines', number), redis.call('HGET', key .. ':answers', number)
  if line and (answer and true or false) == (a.answered or false) then
    table.insert(found, { number, line, answer or '' })
  end
  if #found == a.limit then
    break
  end
end
return found
