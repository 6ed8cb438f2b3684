-- What needs a picture's bytes, and until when.
--   blob:<digest>  zset  holders (a run, a job, a file, a batch, or `upload:<id>`) by Unix ms, +inf during their work;
--                        `missing` after a worker did not find the bytes, until an upload or a read
--   deleting:<digest>, gone:<caller>:<file>  strings  below
-- Bytes without a holder may be deleted. The key's life is never shortened: it ends some time after the longest hold,
-- or with the bytes (`mark_deleted`). Where a function takes `digests`, they are words.

local MISSING, MISSING_SCORE = 'missing', -1

-- Seconds that a key lives whose hold has no end: longer than work can be under way (admission.lua: LONGEST_WAIT_S).
Files.LIVE_S = 4320000

-- One hold for work in so many takes out holds that ran out, this many at most.
local NOW_AND_THEN, SOME = 16, 100

local function blob_key(digest) return P .. 'blob:' .. digest end

-- Lets a key live for so many seconds at least.
function Files.extend_life(key, seconds)
  if call('EXPIRE', key, math.ceil(seconds), 'GT') == 0 then
    call('EXPIRE', key, math.ceil(seconds), 'NX')
  end
end

function Files.hold(digest, holder, till)
  call('ZADD', blob_key(digest), till, holder)
  Files.extend_life(blob_key(digest), till == '+inf' and Files.LIVE_S or math.max((till - now) / 1000, 1))
end

-- Holds pictures for work that begins. Those that were `uploaded` under this id are there now, and that hold goes.
function Files.take_over(digests, holder, uploaded)
  for digest in words(digests) do
    Files.hold(digest, holder, '+inf')
    if uploaded then call('ZREM', blob_key(digest), 'upload:' .. uploaded, MISSING) end
    local old = now % NOW_AND_THEN == 0 and call('ZRANGEBYSCORE', blob_key(digest), 0, now, 'LIMIT', 0, SOME)
    if old and old[1] then call('ZREM', blob_key(digest), unpack(old)) end
  end
end

-- Ends the holds of work that was under way `since` then: the keys mostly live long enough.
function Files.keep_until(digests, holder, till, since)
  for digest in words(digests) do
    call('ZADD', blob_key(digest), 'XX', till, holder)
    if till > since + Files.LIVE_S * 1000 then
      Files.extend_life(blob_key(digest), (till - now) / 1000)
    end
  end
end

-- A hold that ran out is not renewed: its picture may be gone.
function Files.prolong(digests, holder, till)
  for digest in words(digests) do
    local former = tonumber(call('ZSCORE', blob_key(digest), holder) or 0)
    if now < former and former < till then Files.hold(digest, holder, till) end
  end
end

function Files.clear_missing(digests)
  for digest in words(digests) do call('ZREM', blob_key(digest), MISSING) end
end

function Files.release(digests, holder)
  for digest in words(digests) do
    -- What was uploaded is there.
    if call('ZREM', blob_key(digest), holder) == 1 and string.sub(holder, 1, 7) == 'upload:' then
      Files.clear_missing(digest)
    end
  end
end

function Files.caller_of(holder)
  local json = string.find(holder, '^%l%l%l_') and read_raw(holder)
  return json and field_of(json, 'caller":') or not json and redis.pcall('HGET', P .. holder, 'caller')
end

function Files.mark_missing(digest)
  if call('EXISTS', blob_key(digest)) == 1 then call('ZADD', blob_key(digest), MISSING_SCORE, MISSING) end
end

function Files.is_missing(digest) return call('ZSCORE', blob_key(digest), MISSING) end

local function is_needed(digest) return call('ZCOUNT', blob_key(digest), '(' .. now, '+inf') > 0 end

-- An upload waits while its picture is being deleted, and no longer than this for a process that died doing so.
local DELETION_MS = 10000

-- Marks a picture without a holder (deleting:<digest>). Returns false if it has one.
function Files.mark_deleted(digest)
  if is_needed(digest) then return false end
  call('DEL', blob_key(digest))
  call('SET', P .. 'deleting:' .. digest, 1, 'PX', DELETION_MS)
  return true
end

local function digests_where(digests, test)
  local chosen = {}
  for _, digest in ipairs(digests) do
    if test(digest) then table.insert(chosen, digest) end
  end
  return chosen
end

-- Returns the pictures that are being deleted right now: touch them again, and write only when there are none.
local function under_deletion(digests)
  return digests_where(digests, function(digest) return call('EXISTS', P .. 'deleting:' .. digest) == 1 end)
end

-- Holds all pictures of a request, so that none goes while the `missing` ones are uploaded. Returns as above, of these.
function Files.hold_upload(blobs, missing)
  for digest in words(blobs) do
    Files.hold(digest, 'upload:' .. a.job, now + a.hold_s * 1000)
  end
  return under_deletion(missing)
end

local function touch()
  for _, digest in ipairs(a.digests) do
    Files.hold(digest, a.holder, now + a.hold_s * 1000)
  end
  return under_deletion(a.digests)
end

-- Holds pictures for `hold_s`, between their upload and their admission: `digests` for a `holder`. Returns as above.
transition('touch', {}, touch)

-- The same for what ends accepted work.
transition('touch_output', { 'allow-oom' }, touch)

-- Holds an uploaded thumbnail (`digest`) of a job's picture as one more blob of the run that holds the picture. Returns
-- 1, or 0 if no run of the job holds the picture; then nothing holds the thumbnail, either.
transition('keep_thumbnail', {}, function()
  local job = owned(a.job, a.caller)
  local run = job and Runs.of(job)
  local till = run and call('ZSCORE', blob_key(a.picture), run.id)
  local kept = till and (till == 'inf' or now < tonumber(till))
  if kept then
    Files.hold(a.digest, run.id, till == 'inf' and '+inf' or tonumber(till))
    if not string.find(run.blobs, a.digest, 1, true) then
      run.blobs = run.blobs .. ' ' .. a.digest
      write(run)
    end
  end
  Files.release(a.digest, a.upload)
  return kept and 1 or 0
end)

-- Marks for deletion the pictures that have no holder, and returns them; run `deleted` after they were deleted.
transition('mark_deleted', { 'allow-oom' }, function()
  return digests_where(a.digests, Files.mark_deleted)
end)

-- Records that marked pictures were deleted, which lets waiting uploads go on. Returns those to write again, because
-- they got holders after the mark had expired.
transition('deleted', { 'allow-oom' }, function()
  return digests_where(a.digests, function(digest)
    call('DEL', P .. 'deleting:' .. digest)
    return is_needed(digest)
  end)
end)

-- Begins a file whose bytes are written, and held by `holder`. The same id again changes nothing.
function Files.create(file)
  local expires = now + file.life_s * 1000
  if call('EXISTS', P .. file.id) == 0 then
    Records.create('files', file.caller, file.id, { 'caller', file.caller, 'name', file.name, 'purpose', file.purpose,
      'size', file.size, 'digest', file.digest, 'expires_ms', expires }, file.life_s)
    call('EXPIRE', P .. file.id, file.life_s)
    Files.hold(file.digest, file.id, expires)
    Files.release(file.digest, file.holder)
  end
end

-- Keeps a file: id, caller, name, purpose, size, digest, life_s, holder. Returns its fields.
transition('file_create', {}, function()
  Files.create(a)
  return Records.fields(a.id)
end)

-- Which record store this is: `sightline`, a hash outside of the prefix (shared/store/layout.py). It takes the given id
-- if it has none. A blob store names the id, to say whose pictures it has. Returns layout, number of keys, id.
transition('identity', { 'allow-oom' }, function()
  call('HSETNX', 'sightline', 'layout', string.match(P, '%d+'))
  call('HSETNX', 'sightline', 'id', a.id)
  return { call('HGET', 'sightline', 'layout'), call('DBSIZE'), call('HGET', 'sightline', 'id') }
end)

local REPEAT_S = 60

-- Forgets a file; a batch that reads it holds its bytes. Returns nil if the caller has no such file, else a list of its
-- digest if nothing holds the bytes: delete them, then run `deleted`. gone:<caller>:<id> keeps the digest for a repeat.
transition('file_delete', { 'allow-oom' }, function()
  local key = P .. 'gone:' .. a.caller .. ':' .. a.id
  local file = Records.owned('files', a.caller, a.id, 'digest')
  local digest = file and file.digest or call('GET', key)
  if not digest then
    return nil
  end
  call('DEL', P .. a.id)
  call('ZREM', P .. 'files:' .. a.caller, a.id)
  Files.release(digest, a.id)
  call('SET', key, digest, 'EX', REPEAT_S)
  return Files.mark_deleted(digest) and { digest } or {}
end)
