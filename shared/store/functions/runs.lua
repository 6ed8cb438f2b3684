-- A job's life. Of identical jobs one is computed, the leader; the others follow it, and read its text and its answer.
-- A job ends once: with the work of its leader, or by itself.
--   job_…  r, s: what its caller named (caller, model, model_lane, priority, metadata, created, …) and its end (status,
--          ended, last, error; own = 1 if it ended by itself). A follower names its `leader`. Another job is work, too:
--          lane, class (if a follower raised it), state (queued | running | retrying | over), key (for reuse), cost,
--          attempts, …; followed (1 = by others); bare (1 = its answer is also stored without logprobs); displaced
--          (1 = another leads its key); over (its end, if its job left before); kept (until when its answer is read);
--          sharing (1 = followers' ends are not written); gone (1 = its caller deleted it, and others follow); lost
--          (1 = unreadable); t: token, seq, chars …; texts rest, result, bare, origin; terms while inputs are fetched
--   <job>:asked       string the request
--   <job>:answer      hash   the texts of an answer that expires before its record (`apart`)
--   <job>:followers   zset   jobs that may read its answer, by when they expire: inf before their end, then UNKNOWN
--   <job>:beginnings  set    those whose beginning is still to be announced
--   ending            list   leaders whose followers' ends are to be written, <job>:beginnings likewise
--   deadlines         zset   jobs that have not ended, by when each is looked at next

local UNKNOWN = 9e15

-- The key of the cache for an answer of work under a fingerprint; nil if the answer is not cached.
function Runs.cache_key(work, print)
  return work.key and print and P .. 'cache:' .. work.key .. ':' .. print
end

-- The work of a job, its own or its leader's; nil while its inputs are fetched, or if it is lost.
function Runs.of(job)
  if job.leader then
    return stored(job.leader)
  end
  return job.lane ~= 'intake' and job or nil
end

function Runs.goes_on(work)
  return work.state ~= nil and work.state ~= 'over'
end

-- How work ended: a table with status, ended, last and error; nil while it goes on.
function Runs.outcome(work)
  return work.state == 'over' and (work.over or work) or nil
end

-- How long a record is seen by its caller, and how long it is stored: a batch or a webhook may read it for longer.
local function lives(record, seconds, needed_s)
  local own = record.retain_s or seconds
  return own, math.max(own, needed_s or 0)
end

-- Seconds for which a job's batch or webhook may read the answer after the job's end; nil if neither does.
function Runs.needed_s(job)
  if job.line then
    return math.max(math.ceil((job.line - now) / 1000), 1)
  end
  return job.hook and math.min(job.retain_s or S.hook_s, S.hook_s) or nil
end

-- Seconds for which the answer of work is read.
function Runs.answer_s(work)
  return work.keep_s or work.retain_s or S.result_s
end

-- Until when the texts of ended work are stored: for callers, batches and webhooks.
function Runs.texts_till(work)
  return math.max(work.kept, Runs.outcome(work).ended + (work.needed_s or 0) * 1000)
end

-- A follower holds the answer for as long as it is stored itself; without `seconds` that is UNKNOWN.
function Runs.hold_for(job, seconds)
  if job.leader then
    call('ZADD', P .. job.leader .. ':followers', 'XX', seconds and now + seconds * 1000 or UNKNOWN, job.id)
  end
end

-- Lets an unstored job and its webhook outlive the job's end by so many seconds.
local function expire_unstored(job, seconds)
  if call('TTL', P .. job.id) < 0 then
    call('EXPIRE', P .. job.id, seconds)
    Runs.hold_for(job, seconds)
  end
  for _, suffix in ipairs({ ':asked', ':hook', ':deliveries' }) do
    call('EXPIRE', P .. job.id .. suffix, seconds, 'NX')
  end
  if job.idem then
    call('EXPIRE', P .. 'idem:' .. job.caller .. ':' .. job.idem, seconds, 'LT')
  end
end

-- Sets how long an ended job is visible (job_s, or while its webhook may be called) and stored: longer if its work is
-- computed for others, or followers still read it. The caller writes it. Returns the seconds for which it is stored, nil if unknown.
function Runs.expire_job(job)
  local is_read = Runs.goes_on(job) or job.sharing
  if job.unstored and not job.followed and not is_read then
    expire_unstored(job, job.retain_s or S.job_s)
    return job.retain_s or S.job_s
  end
  local own, whole = lives(job, job.hook and math.max(S.job_s, S.hook_s) or S.job_s, Runs.needed_s(job))
  job.till = job.gone and 0 or job.till or now + own * 1000
  if is_read then
    return nil
  end
  whole = math.max(whole, job.kept and math.ceil((Runs.texts_till(job) - now) / 1000) or 0)
  call('EXPIRE', P .. job.id, whole)
  Runs.hold_for(job, whole)
  if job.followed then
    call('EXPIRE', P .. job.id .. ':followers', whole)
  end
  if job.hook then
    Webhooks.expire(job.id, whole)
  end
  return whole
end

-- Bytes of a job beside its work.
function Runs.bytes_of_job(job)
  return Memory.JOB_BYTES + #job.metadata + #(job.response or '') + #(job.question or '') + #(job.paths or '')
    + (job.hook or 0) + count_words(job.pairs) * Memory.LIST_BYTES
end

-- When a job is too late: at its finish_by, or expire_ms after it was queued last, or joined another.
function Runs.deadline(job)
  local work = job.leader and stored(job.leader) or job
  local since = work.state == 'queued' and math.max(work.queued_at, job.queued_at or 0) or now
  return job.finish_by or since + S.expire_ms
end

function Runs.watch_deadline(job)
  call('ZADD', P .. 'deadlines', Runs.deadline(job), job.id)
end

-- Fails a job that is too late. Returns what that costs.
function Runs.fail_too_late(job)
  return Runs.leave(job, 'failed', job.finish_by and S.late or S.expired)
end

-- Where the texts of ended work are.
function Runs.texts_key(work)
  return P .. work.id .. (work.apart and ':answer' or '')
end

-- The answer of work as JSON, without its logprobs; nil if it is no longer read.
local function answer_of(work)
  if work and not (work.kept and now >= Runs.texts_till(work)) then
    memo[work.id] = memo[work.id] or call('HMGET', Runs.texts_key(work), 'bare', 'result')
    return memo[work.id][1] or memo[work.id][2] or nil
  end
end

-- Notes a job's end: `last` is the newest event that its stream replays; own = the job ended by itself, and its stream
-- gets one more event. The caller writes it. Returns what that costs: one, and one for each call of a webhook.
local function note_end(job, status, last, own, failure, at)
  job.status, job.ended, job.last, job.own, job.error = status, at or now, last, own and 1 or nil, failure
  local work = Runs.of(job)
  local calls = job.hook and Webhooks.announce(job.id, 'ended', 'job.' .. status) or 0
  Metrics.report_end(job, work, S.logs_ends and status == 'succeeded' and answer_of(work) or nil)
  call('ZREM', P .. 'deadlines', job.id)
  return 1 + calls
end

-- Writes the end of a job without work of its own; as above.
function Runs.end_job(job, status, last, own, failure, at)
  local cost = note_end(job, status, last, own, failure, at)
  local _, seconds = lives(job, S.job_s, Runs.needed_s(job))
  if not Runs.expire_job(job) then
    Runs.hold_for(job, nil)
  end
  -- The request of a job that ends before it is work stays for a while.
  write(job, 'm', Memory.settle(job.id, job.leader and Runs.bytes_of_job(job) or Memory.bytes_of(job.id), seconds))
  if not job.leader then
    wake(job.id, 'state')
  end
  return cost
end

-- Ends a follower whose leader is lost. The number of its last event is the time, after any that a reader has seen.
local function end_without_work(job)
  return Runs.end_job(job, 'failed', now, true, S.lost)
end

-- Fails the job of a record that cannot be read, if that tells whose it is, and its followers. Returns the job.
function Runs.fail_unreadable(id, why)
  note_bad(id, why)
  if not is_job(id) then
    return nil
  end
  local texts = redis.pcall('HVALS', P .. id)
  local text = texts.err and '' or table.concat(texts)
  Memory.free(id)
  call('DEL', P .. id)
  call('RPUSH', P .. 'ending', id)
  local caller, lane = string.match(text, '"caller":"([^"]+)"'), string.match(text, '"model_lane":"([^"]+)"')
  if not caller then
    return nil
  end
  local model = string.match(text, '"model":"([^"]+)"') or ''
  local job = create(id, { caller = caller, model = model, model_lane = lane or '', priority = 'normal', created = now,
    metadata = '{}', lane = 'intake', state = 'over', lost = 1, followed = 1, kept = now })
  job.hook = call('EXISTS', P .. id .. ':hook') == 1 and 0 or nil
  call('HSET', P .. id, 'm', Memory.charge(id, caller, Memory.JOB_BYTES, 0, S.job_s))
  Runs.end_job(job, 'failed', now, true, S.lost)
  return job
end

-- The end of work is the end of all its jobs. Its leader's is written with it; those of followers are read from it
-- until they are written, in pieces. What one call ends may cost so much: a job 1, a call of a webhook 1, work 1 more.
Runs.PIECE = 32

-- Tells a job's webhook that the job has begun. Returns how many calls that makes.
function Runs.announce_begin(job)
  return job.beginnings and Webhooks.announce(job.id, 'began', 'job.running') or 0
end

-- Writes the end of a follower.
function Runs.end_with_work(job, work)
  local outcome = Runs.outcome(work)
  if call('SREM', P .. work.id .. ':beginnings', job.id) == 1 then
    Runs.announce_begin(job)
  end
  return Runs.end_job(job, outcome.status, outcome.last, false, outcome.error, outcome.ended)
end

-- Does something for the jobs that `next_id` names, until `budget` is spent; returns what is left of it.
local function piece(next_id, budget, act)
  while budget > 0 do
    local id = next_id()
    if not id then
      break
    end
    local job = read(id)
    budget = budget - (job and not job.status and try(act, id, job) or 1)
  end
  return budget
end

-- The followers of work that have not ended.
local function live_followers(work, most)
  return work.followed and call('ZRANGEBYSCORE', P .. work.id .. ':followers', 'inf', 'inf', 'LIMIT', 0, most) or {}
end

local function end_followers(id, budget)
  local work, key = stored(id), P .. id .. ':followers'
  return piece(function()
    local follower = call('ZRANGEBYSCORE', key, 'inf', 'inf', 'LIMIT', 0, 1)[1]
    if follower then
      call('ZADD', key, UNKNOWN, follower)
    end
    return follower
  end, budget, function(job)
    return work and Runs.end_with_work(job, work) or end_without_work(job)
  end)
end

local function announce_beginnings(id, budget)
  return piece(function() return call('SPOP', P .. id .. ':beginnings') or nil end, budget, function(job)
    return 1 + Runs.announce_begin(job)
  end)
end

-- Lets a leader expire whose followers' ends are all written.
local function expire_after_ends(id)
  local work = stored(id)
  if work and work.sharing then
    work.sharing = nil
    if work.apart then
      call('PEXPIRE', P .. id .. ':answer', math.max(Runs.texts_till(work) - now, 1000))
    end
    Runs.expire_job(work)
    write(work)
  end
end

-- Writes ends of followers, and announces their beginnings, a piece of them. Returns how many leaders are left.
transition('finish', { 'allow-oom' }, function()
  local budget = Runs.PIECE
  while budget > 0 do
    local entry = call('LINDEX', P .. 'ending', 0)
    if not entry then
      return 0
    end
    local id = string.match(entry, '^[^:]+')
    budget = (id == entry and end_followers or announce_beginnings)(id, budget)
    if budget > 0 then
      call('LPOP', P .. 'ending')
      if id == entry then
        expire_after_ends(id)
      end
    end
  end
  return call('LLEN', P .. 'ending')
end)

-- Announces to all jobs of some work that it has begun.
function Runs.announce_beginning(work)
  if not work.status and not work.gone then
    Runs.announce_begin(work)
  end
  local followers = live_followers(work, 1000)
  if followers[1] then
    call('SADD', P .. work.id .. ':beginnings', unpack(followers))
    if announce_beginnings(work.id, Runs.PIECE) <= 0 then
      call('RPUSH', P .. 'ending', work.id .. ':beginnings')
    end
  end
end

-- Puts the texts of an answer, by name, into the record, or apart if the record is stored for longer than they are.
-- Returns names and values to write with the record, and their bytes.
local function place_texts(work, texts, seconds)
  local fields, bytes = flat(texts), Memory.END_BYTES
  for i = 2, #fields, 2 do
    bytes = bytes + #fields[i]
  end
  work.bare = texts.bare and 1 or nil
  local _, stored_s = lives(work, S.job_s, Runs.needed_s(work))
  if #fields == 0 or seconds >= stored_s then
    return fields, bytes
  end
  work.apart = 1
  if work.question then
    -- What was asked expires with the answer.
    add(fields, 'asked', cjson.encode({ question = work.question, pictures = work.pictures }))
    unset(work, 'question')
  end
  local key = work.id .. ':answer'
  call('HSET', P .. key, 'm', Memory.charge(key, work.caller, bytes, 0, seconds), unpack(fields))
  call('EXPIRE', P .. key, seconds)
  return {}, 0
end

-- Keeps what belongs to ended work for as long as its answer is read.
local function keep_answer(work, seconds)
  work.kept = now + seconds * 1000
  call('EXPIRE', P .. work.id .. ':asked', seconds)
  if work.t.wrote then
    call('EXPIRE', P .. work.id .. ':events', seconds)
  end
  Files.keep_until(work.blobs, work.id, work.kept, work.created)
end

-- Ends work and its leader, and wakes its worker, unless that `known` the end. `texts`: its answer's. Returns the cost.
function Runs.end_run(work, status, failure, known, texts)
  local worker, left, own_s, cost = work.worker, work.status or work.gone, Runs.answer_s(work), 1
  FairQueue.leave(work, status)
  if work.key and not work.displaced then
    call('DEL', P .. 'join:' .. work.key)
  end
  local number, wrote = Events.number(work), work.t.wrote
  work.worker, work.t.token, work.t.unread = nil, nil, nil
  texts = texts or {}
  memo[work.id] = { texts.bare or false, texts.result or false }
  if left then
    work.over = { status = status, ended = now, last = number, error = failure }
  else
    cost = cost + note_end(work, status, number, false, failure)
  end
  work.state = 'over'
  keep_answer(work, own_s)
  local fields, bytes = place_texts(work, texts, math.max(own_s, work.needed_s or 0))
  local followed = work.followed and live_followers(work, 1)[1]
  work.sharing = followed and 1 or nil
  Runs.expire_job(work)
  local texts_s = math.ceil((Runs.texts_till(work) - now) / 1000)
  local _, seconds = lives(work, S.job_s, math.max(Runs.needed_s(work) or 0, texts_s))
  add(fields, 'm', Memory.settle(work.id, Memory.bytes_of(work.id) + (wrote or 0) + bytes, seconds))
  write(work, unpack(fields))
  wake(work.id, 'state')
  if followed then
    local budget = memo.budget or Runs.PIECE
    memo.budget = end_followers(work.id, budget)
    cost = cost + budget - memo.budget
    if memo.budget > 0 then
      expire_after_ends(work.id)
    else
      call('RPUSH', P .. 'ending', work.id)
      -- The other ends are still to be read from it, however late they are written.
      call('PERSIST', P .. work.id .. ':answer')
    end
  end
  if worker and not known then
    wake(worker, 'state')
  end
  return cost
end

-- Takes a job out of intake, and ends what it held.
local function leave_intake(job, outcome)
  local seconds = (lives(job, S.result_s))
  FairQueue.leave(job, outcome)
  Files.keep_until(job.blobs, job.id, now + seconds * 1000, job.created)
  call('EXPIRE', P .. job.id .. ':asked', seconds)
  call('HDEL', P .. job.id, 'terms')
  job.worker, job.t.token, job.state = nil, nil, 'over'
end

-- Fails work: a job that is computed or whose inputs are being fetched, or a batch. Returns what that costs.
function Runs.fail_work(work, failure)
  if is_computed(work) then
    return Runs.end_run(work, 'failed', failure)
  elseif work.lane == 'batch' then
    Batches.fail(work, failure)
  else
    leave_intake(work, 'failed')
    return Runs.end_job(work, 'failed', 0, true, failure)
  end
  return 1
end

-- How many jobs some work is for: its leader, until it leaves, and its followers.
function Runs.live_count(work)
  local followers = work.followed and call('ZCOUNT', P .. work.id .. ':followers', 'inf', 'inf') or 0
  return followers + ((work.status or work.gone) and 0 or 1)
end

-- Takes a job out of its work, which the last job to leave ends. An ended job stays as it is. Returns what that costs.
function Runs.leave(job, status, failure)
  if job.status then
    return 0
  elseif job.lane == 'intake' then
    leave_intake(job, status)
    return Runs.end_job(job, status, 0, true, failure)
  end
  local work = Runs.of(job)
  if not work then
    return end_without_work(job)
  elseif not Runs.goes_on(work) then
    return Runs.end_with_work(job, work)
  end
  -- The job's own end comes after the work's last event.
  Events.leap(work)
  local cost = (job == work and note_end or Runs.end_job)(job, status, work.t.seq, true, failure)
  if job == work then
    Runs.expire_job(job)
  end
  wake(work.id, 'state')
  if Runs.live_count(work) == 0 then
    return cost + Runs.end_run(work, 'cancelled', nil)
  end
  write(work)
  return cost
end

-- Fails the jobs of some work whose finish_by has passed, before the work's next step: a PIECE of them. Returns false
-- if no job is left, what that costs, and how many were looked at.
function Runs.fail_late(work)
  local cost, jobs = 0, {}
  if work.lane == 'intake' or now >= (work.limit_at or math.huge) then
    jobs = live_followers(work, 1000)
    table.insert(jobs, not (work.status or work.gone) and work.id or nil)
  end
  for _, id in ipairs(jobs) do
    -- Many may be looked at, so only late ones are decoded.
    local json = cost < Runs.PIECE and raw(id)
    local limit = json and field_of(json, 'finish_by":')
    local job = limit and now >= tonumber(limit) and stored(id)
    if job and not job.status then
      cost = cost + Runs.fail_too_late(job)
    end
  end
  return work.state == 'queued' or work.state == 'running', cost, #jobs
end

local SOME = 32 -- followers that one call looks at, to take out those that are gone

-- A job follows work, or is answered by it: it may read the answer.
function Runs.follow(work, job, score)
  local key = P .. work.id .. ':followers'
  for _, gone in ipairs(call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, SOME)) do
    call('ZREM', key, gone)
  end
  call('ZADD', key, score, job.id)
  job.leader, work.followed = work.id, 1
end

-- Whether any job but this one, which goes, may read the answer of some work.
function Runs.is_held(work, job)
  local key = P .. work.id .. ':followers'
  call('ZREM', key, job.id)
  if job.id ~= work.id and visible(work) then
    return true
  elseif work.followed then
    -- Followers whose records were lost are at its end.
    Jobs.cut(key, call('ZREVRANGE', key, 0, SOME - 1))
    return call('ZCOUNT', key, '(' .. now, 'inf') > 0
  end
  return false
end
