-- Who needs a picture and until when: blob:<digest> scores each holder with Unix ms, +inf while it has not
-- ended. The key lives as long as its longest hold; a picture without a hold may be deleted. The member `missing` holds
-- nothing: it says that a worker looked for the bytes in vain, until somebody writes them or a worker reads them.

local MISSING = 'missing'
-- Sorts before every hold, even those that ran out.
local MISSING_SCORE = -1

local function outlive_holders(key)
  local longest = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2]
  if longest == 'inf' then
    redis.call('PERSIST', key)
  elseif longest then
    redis.call('PEXPIRE', key, math.max(math.ceil(longest - now), 1))
  end
end

local function hold(digest, holder, till)
  local key = P .. 'blob:' .. digest
  redis.call('ZADD', key, till, holder)
  redis.call('ZREMRANGEBYSCORE', key, 0, now)
  outlive_holders(key)
end

-- A hold that ran out is not renewed: its picture may be gone.
local function prolong(digest, holder, till)
  local held = tonumber(redis.call('ZSCORE', P .. 'blob:' .. digest, holder) or 0)
  if now < held and held < till then
    hold(digest, holder, till)
  end
end

local function regain(digest)
  redis.call('ZREM', P .. 'blob:' .. digest, MISSING)
end

local function release(digest, holder)
  local key = P .. 'blob:' .. digest
  -- The hold of an upload is taken over when its bytes are written.
  if redis.call('ZREM', key, holder) == 1 and string.sub(holder, 1, 7) == 'upload:' then
    regain(digest)
  end
  outlive_holders(key)
end

local function miss(digest)
  local key = P .. 'blob:' .. digest
  redis.call('ZADD', key, MISSING_SCORE, MISSING)
  outlive_holders(key)
end

local function is_missing(digest)
  return redis.call('ZSCORE', P .. 'blob:' .. digest, MISSING)
end

-- An upload waits while its picture is being deleted, and no longer than this for a process that died doing so.
local DELETION_MS = 10000

-- Marks a picture that nobody holds; false where somebody does.
local function doom(digest)
  if redis.call('ZCOUNT', P .. 'blob:' .. digest, '(' .. now, '+inf') > 0 then
    return false
  end
  redis.call('DEL', P .. 'blob:' .. digest)
  redis.call('SET', P .. 'doomed:' .. digest, 1, 'PX', DELETION_MS)
  return true
end
