-- Who needs a picture and until when: blob:<digest> scores each holder with Unix ms, +inf while it has not
-- ended. The key lives as long as its longest hold; a picture without a hold may be deleted. The member `missing` holds
-- nothing: it says that a worker looked for the bytes in vain, until somebody writes them or a worker reads them.

local MISSING = 'missing'

-- Sorts before every hold, even those that ran out.
local MISSING_SCORE = -1

local function outlive_holders(key)
  local longest = call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2]
  if longest == 'inf' then
    call('PERSIST', key)
  elseif longest then
    call('PEXPIRE', key, math.max(math.ceil(longest - now), 1))
  end
end

function Files.hold(digest, holder, till)
  local key = P .. 'blob:' .. digest
  call('ZADD', key, till, holder)
  call('ZREMRANGEBYSCORE', key, 0, now)
  outlive_holders(key)
end

-- A holder is a run, a job, a file or a batch.
function Files.caller_of(holder)
  return get(holder, 'caller') or call('HGET', P .. holder, 'caller')
end

-- A hold that ran out is not renewed: its picture may be gone.
function Files.prolong(digest, holder, till)
  local held = tonumber(call('ZSCORE', P .. 'blob:' .. digest, holder) or 0)
  if now < held and held < till then
    Files.hold(digest, holder, till)
  end
end

function Files.regain(digest)
  call('ZREM', P .. 'blob:' .. digest, MISSING)
end

function Files.release(digest, holder)
  local key = P .. 'blob:' .. digest
  -- The hold of an upload is taken over when its bytes are written.
  if call('ZREM', key, holder) == 1 and string.sub(holder, 1, 7) == 'upload:' then
    Files.regain(digest)
  end
  outlive_holders(key)
end

function Files.miss(digest)
  local key = P .. 'blob:' .. digest
  call('ZADD', key, MISSING_SCORE, MISSING)
  outlive_holders(key)
end

function Files.is_missing(digest)
  return call('ZSCORE', P .. 'blob:' .. digest, MISSING)
end

-- An upload waits while its picture is being deleted, and no longer than this for a process that died doing so.
local DELETION_MS = 10000

-- Marks a picture that nobody holds; false where somebody does.
function Files.doom(digest)
  if call('ZCOUNT', P .. 'blob:' .. digest, '(' .. now, '+inf') > 0 then
    return false
  end
  call('DEL', P .. 'blob:' .. digest)
  call('SET', P .. 'doomed:' .. digest, 1, 'PX', DELETION_MS)
  return true
end

-- Who may read a run's answer: the job that opened it (`holder` of the run), and where others are `held` the jobs of
-- <run>:holders, a set. Those whose records ran out are forgotten when met.

-- Looks, at a hundred jobs or so each, for one that is kept. Where none finds one, the rest is left to time.
local LOOKS = 100

-- Every fifteenth new job looks at 32 others, two for each that came: so jobs whose records are gone do not outnumber
-- the rest.
local EVERY, SOME = 15, 32

-- Takes out those of some jobs whose records are gone; returns how many are left.
function Files.forget_gone(run, jobs)
  local left = #jobs
  for _, job in ipairs(jobs) do
    if not exists(job) then
      call('SREM', P .. run .. ':holders', job)
      left = left - 1
    end
  end
  return left
end

function Files.hold_run(run, job)
  if not get(run, 'holder') and not get(run, 'held') then
    put(run, 'holder', job)
    return
  end
  local key = P .. run .. ':holders'
  call('SADD', key, job)
  if not get(run, 'held') then
    put(run, 'held', 1)
    if get(run, 'ended') then
      call('PEXPIRE', key, math.max(call('PTTL', P .. run), 1))
    end
  end
  if call('SCARD', key) % EVERY == 0 then
    Files.forget_gone(run, call('SRANDMEMBER', key, SOME))
  end
end

function Files.leave_run(run, job)
  if get(run, 'holder') == job then
    remove(run, 'holder')
  elseif get(run, 'held') then
    call('SREM', P .. run .. ':holders', job)
  end
end

-- Whether a job still holds a run, or so many did that it cannot be told.
function Files.held(run)
  local holder = get(run, 'holder')
  if holder and exists(holder) then
    return true
  end
  if not get(run, 'held') then
    return false
  end
  -- Mostly the first job met is still kept.
  local one = call('SRANDMEMBER', P .. run .. ':holders')
  if one and Files.forget_gone(run, { one }) > 0 then
    return true
  end
  local cursor = '0'
  for _ = 1, LOOKS do
    local found = call('SSCAN', P .. run .. ':holders', cursor, 'COUNT', 100)
    if Files.forget_gone(run, found[2]) > 0 then
      return true
    end
    cursor = found[1]
    if cursor == '0' then
      return false
    end
  end
  return true
end

-- Files that callers upload and batches write: <file> hash (id, caller, name, purpose, size, digest, created, expires; times
-- in Unix ms), files:<caller> zset by creation. A record and its hold of the bytes end together.

-- Keeps a file whose bytes are written: id, caller, name, purpose, size, digest, life_s, and the holder of its upload.
function Files.keep_file(file)
  local key, list = P .. file.id, P .. 'files:' .. file.caller
  if call('EXISTS', key) == 1 then
    return
  end
  local expires = now + file.life_s * 1000
  call('HSET', key, 'v', VERSION, 'id', file.id, 'caller', file.caller, 'name', file.name, 'purpose', file.purpose,
    'size', file.size, 'digest', file.digest, 'created', now, 'expires', string.format('%.0f', expires))
  call('EXPIRE', key, file.life_s)
  Files.hold(file.digest, file.id, string.format('%.0f', expires))
  Files.release(file.digest, file.holder)
  call('ZADD', list, now, file.id)
  call('EXPIRE', list, math.max(file.life_s, call('TTL', list)))
  -- Each new file looks at two old ones, so that a list does not grow by files that are gone.
  for _, oldest in ipairs(call('ZRANGE', list, 0, 1)) do
    if call('EXISTS', P .. oldest) == 0 then
      call('ZREM', list, oldest)
    end
  end
end

-- Holds pictures for the time between their upload and their admission.
--   a      digests, holder, hold_s
--   writes blob:<digest> zset
--   reads  doomed:<digest> string
--   returns the digests that are being deleted right now: touch again, and write only when there are none
transition('touch', {}, function()
  local doomed = {}
  for _, digest in ipairs(a.digests) do
    Files.hold(digest, a.holder, now + a.hold_s * 1000)
    if call('EXISTS', P .. 'doomed:' .. digest) == 1 then
      table.insert(doomed, digest)
    end
  end
  return doomed
end)

-- Marks for deletion those of the named pictures that nobody needs.
--   a      digests
--   writes blob:<digest> zset, doomed:<digest> string
--   returns the digests to delete; run `deleted` afterwards
transition('doom', { 'allow-oom' }, function()
  local doomed = {}
  for _, digest in ipairs(a.digests) do
    if Files.doom(digest) then
      table.insert(doomed, digest)
    end
  end
  return doomed
end)

-- Records that doomed pictures have been deleted: whoever waits to upload them again may go on.
--   a      digests
--   writes doomed:<digest> string
--   returns those that are needed again, where the deletion took longer than its mark: write them again
transition('deleted', { 'allow-oom' }, function()
  local wanted = {}
  for _, digest in ipairs(a.digests) do
    call('DEL', P .. 'doomed:' .. digest)
    if call('ZCOUNT', P .. 'blob:' .. digest, '(' .. now, '+inf') > 0 then
      table.insert(wanted, digest)
    end
  end
  return wanted
end)

-- The id may be anything a stranger typed: it must not reach our other keys.
local KINDS = { file = '^file%-%x+$', batch = '^batch_%x+$' }

-- Reads one file or batch of a caller.
--   a       kind (file | batch), id, caller
--   returns its fields, a flat list, or nil where the caller has none of this id
transition('record', { 'no-writes' }, function()
  if not string.find(a.id, KINDS[a.kind]) or call('HGET', P .. a.id, 'caller') ~= a.caller then
    return nil
  end
  return call('HGETALL', P .. a.id)
end)


-- Reads a page of a caller's files or batches.
--   a       list (files | batches), caller, after (an id, absent = from the beginning), limit, oldest_first
--   writes  <list>:<caller> zset (forgets ids whose record is gone)
--   returns {fields, …}, a flat list each, or nil where `after` is none of the list
transition('records', { 'allow-oom' }, function()
  local key = P .. a.list .. ':' .. a.caller
  local rank, range = 'ZREVRANK', 'ZREVRANGE'
  if a.oldest_first then
    rank, range = 'ZRANK', 'ZRANGE'
  end
  local from = 0
  if a.after then
    local place = call(rank, key, a.after)
    if not place then
      return nil
    end
    from = place + 1
  end
  local found, gone = {}, {}
  while #found < a.limit do
    local ids = call(range, key, from, from + a.limit - #found - 1)
    if #ids == 0 then
      break
    end
    for _, id in ipairs(ids) do
      from = from + 1
      local fields = call('HGETALL', P .. id)
      table.insert(#fields > 0 and found or gone, #fields > 0 and fields or id)
    end
  end
  for _, id in ipairs(gone) do
    call('ZREM', key, id)
  end
  return found
end)

-- Keeps the record of a file whose bytes are written and held (`touch`).
--   a      id, caller, name, purpose, size, digest, life_s, holder (of the upload)
--   writes <file> hash, files:<caller> zset, blob:<digest> zset
--   returns its fields, a flat list
--   repeat the same id changes nothing
transition('file_create', {}, function()
  Files.keep_file(a)
  return call('HGETALL', P .. a.id)
end)

local REPEAT_MS = 60000

-- Forgets a file. A batch that reads it holds its bytes itself and goes on.
--   a      id, caller
--   writes <file> hash, files:<caller> zset, blob:<digest> zset, doomed:<digest> and purged:<caller>:<id> strings
--   returns nil where the caller has no such file, else the digest of its bytes in a list where nobody needs them any
--           more: delete them, then run `deleted`
--   repeat within a minute answers the same
transition('file_delete', { 'allow-oom' }, function()
  local key, told = P .. a.id, P .. 'purged:' .. a.caller .. ':' .. a.id
  if not string.find(a.id, '^file%-%x+$') or call('HGET', key, 'caller') ~= a.caller then
    local before = call('GET', told)
    return before and cjson.decode(before) or nil
  end
  local digest = call('HGET', key, 'digest')
  call('DEL', key)
  call('ZREM', P .. 'files:' .. a.caller, a.id)
  Files.release(digest, a.id)
  local orphans = Files.doom(digest) and { digest } or {}
  call('SET', told, #orphans > 0 and cjson.encode(orphans) or '[]', 'PX', REPEAT_MS)
  return orphans
end)
