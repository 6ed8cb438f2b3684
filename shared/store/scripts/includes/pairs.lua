-- The lists in which a job stands, newest last: jobs:<caller> zset, and pair:<caller>:<digest> zset for each pair of its
-- metadata, all by the moment of its creation. They hold ids for as long as records may live; ids whose records are
-- gone are forgotten when met.

-- `pairs` are digests.
local function lists_of(caller, pairs)
  local keys = { P .. 'jobs:' .. caller }
  for _, digest in ipairs(pairs) do
    table.insert(keys, P .. 'pair:' .. caller .. ':' .. digest)
  end
  return keys
end

-- Takes out those of some jobs whose records are gone. That is seldom, so one command first asks for all.
local function cut(key, jobs)
  local records = {}
  for i, job in ipairs(jobs) do
    records[i] = P .. job
  end
  if redis.call('EXISTS', unpack(records)) == #jobs then
    return
  end
  for i, job in ipairs(jobs) do
    if redis.call('EXISTS', records[i]) == 0 then
      redis.call('ZREM', key, job)
    end
  end
end

-- One job in so many, by the last digit of its id, looks through the lists that it enters.
local A_LOOK = 4

-- `life_s` is how long the record of a new job may live; that of an earlier job, made with a key that keeps jobs for
-- longer, may outlive it.
local function list(job, caller, pairs, life_s)
  local looks = tonumber(string.sub(job, -1), 16) % A_LOOK == 0
  for _, key in ipairs(lists_of(caller, pairs)) do
    redis.call('ZADD', key, now, job)
    if looks then
      -- Two of the oldest for each job that comes, so that a list does not grow by jobs whose records are gone; and two
      -- at random, so that behind old jobs that live long those gone do not outnumber the living.
      cut(key, redis.call('ZRANGE', key, 0, 2 * A_LOOK - 1))
      cut(key, redis.call('ZRANDMEMBER', key, -2 * A_LOOK))
    end
    if redis.call('TTL', key) < life_s then
      redis.call('EXPIRE', key, life_s)
    end
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
