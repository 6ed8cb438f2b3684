-- In which lists a job stands, newest last: jobs:<caller> zset, and for each pair of its metadata
-- pair:<caller>:<digest> zset, all by the moment of its creation. They hold ids for as long as records may live, and
-- forget those whose records are gone where they meet them.

-- `pairs` are digests.
local function lists_of(caller, pairs)
  local keys = { P .. 'jobs:' .. caller }
  for _, digest in ipairs(pairs) do
    table.insert(keys, P .. 'pair:' .. caller .. ':' .. digest)
  end
  return keys
end

-- `life_s` is how long the record of a job that comes now may live.
local function list(job, caller, pairs, life_s)
  for _, key in ipairs(lists_of(caller, pairs)) do
    redis.call('ZADD', key, now, job)
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now - life_s * 1000)
    -- Two for each that comes, so that a list does not grow by jobs whose records are gone.
    for _, oldest in ipairs(redis.call('ZRANGE', key, 0, 1)) do
      if redis.call('EXISTS', P .. oldest) == 0 then
        redis.call('ZREM', key, oldest)
      end
    end
    redis.call('EXPIRE', key, life_s)
  end
  if #pairs > 0 then
    redis.call('HSET', P .. job, 'pairs', table.concat(pairs, ' '))
  end
end

local function unlist(job, caller)
  local pairs = {}
  for digest in string.gmatch(redis.call('HGET', P .. job, 'pairs') or '', '%S+') do
    table.insert(pairs, digest)
  end
  for _, key in ipairs(lists_of(caller, pairs)) do
    redis.call('ZREM', key, job)
  end
end
