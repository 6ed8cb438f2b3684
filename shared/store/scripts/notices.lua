-- Reads a stretch of a caller's log, oldest first.
--   a       caller, after (notice; absent = from the oldest), types (words; <kind>.* is all of a kind; absent = all),
--           limit, bytes (of records that make a page full)
--   reads   notices:<caller> zset, <notice> hash
--   returns {{{notice, fields}, …}, the notice to go on behind or '' at the end, bytes}, or nil where the log does not
--           hold `after`
-- @include base
-- @include endpoints

-- Notices looked at in one call.
local STEPS = 500

local log, from = P .. 'notices:' .. a.caller, '-inf'
if a.after then
  local place = redis.call('ZSCORE', log, a.after)
  if not place then
    return nil
  end
  from = '(' .. place
end
local found, last, bytes = {}, '', 0
local members = redis.call('ZRANGEBYSCORE', log, from, '+inf', 'LIMIT', 0, STEPS)
for at, notice in ipairs(members) do
  local type = redis.call('HGET', P .. notice, 'type')
  if type and (not a.types or names(a.types, type)) then
    local fields = redis.call('HGETALL', P .. notice)
    table.insert(found, { notice, fields })
    for _, word in ipairs(fields) do
      bytes = bytes + #word
    end
  end
  if #found == a.limit or bytes >= a.bytes or at == STEPS then
    last = (at < #members or at == STEPS) and notice or ''
    break
  end
end
return { found, last, bytes }
