-- Ends a run with the outcome of its attempt; only the holder of the claim can.
--   a      id, token, status (succeeded | failed), print, took_ms (where it succeeded), failures (see
--          late.lua), rest {{choice, start, size, data}, …} (of the text, where some is not published yet), result_s,
--          job_s, event_s, max_events, bare (the result without its logprobs, where it has some),
--          origin (JSON text, what made it, for its receipt)
--   text   result or error, as JSON
--   writes <run> hash, cache:<key>:<print> string, lane:<lane> hash, blob:<digest> zset, and what ending.lua writes
--   returns settled | lost (as append.lua)
--   repeat by the same claim answers settled
--   events succeeded | failed
-- @include base
-- @include ending
-- @include late
-- @include lane
-- @include text

local key = P .. a.id
local token, by, lane, join, mixed, blobs =
  unpack(redis.call('HMGET', key, 'token', 'settled_by', 'lane', 'join', 'mixed', 'blobs'))
if by == a.token then
  return 'settled'
end
if token ~= a.token then
  return 'lost'
end
dirty_first()
if not leave_late(a.id, 'finish_by') then
  return 'lost'
end
for _, piece in ipairs(a.rest or {}) do
  if not publish(a.id, piece, piece.data) then
    return 'lost'
  end
end
if a.status == 'failed' then
  redis.call('HSET', key, 'settled_by', a.token)
  fail_work(a.id, ARGV[2], true)
  return 'settled'
end
local record = { 'settled_by', a.token, 'result', ARGV[2] }
add(record, 'bare', a.bare)
add(record, 'origin', a.origin)
-- An answer begun under one fingerprint and ended under another is nobody's cached answer.
if join and not mixed then
  local entry = P .. 'cache:' .. join .. ':' .. a.print
  redis.call('SET', entry, a.id, 'EX', retention(a.id, a.result_s))
  add(record, 'entry', entry)
end
redis.call('HSET', key, unpack(record))
local old = redis.call('HGET', P .. 'lane:' .. lane, 'service_ms')
if old then
  redis.call('HSET', P .. 'lane:' .. lane, 'service_ms', 0.8 * old + 0.2 * a.took_ms)
else
  note(lane, 'service_ms', a.took_ms)
end
-- This attempt has read the pictures: a worker that missed them may have looked into an empty folder.
for digest in string.gmatch(blobs or '', '%S+') do
  regain(digest)
end
end_run(a.id, 'succeeded', nil, true)
return 'settled'
