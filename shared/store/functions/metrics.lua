-- For charts, samples of each lane; and for the log, the ends of jobs. A lane counts `waits` in its record, and
-- `answers` and `failures` beside it, since the last sample.
--   samples  list  JSON objects of the last minutes, written by the leader of the maintenance
--   refused  hash  requests that API processes refused since the last sample, by message and code

-- Keeps a job's end as JSON for this call's reply, if its caller logs. Takes the job, its run or nil, its answer or
-- nil.
function Metrics.report_end(job, run, answer)
  if not S.logs_ends then
    return
  end
  run, memo.ends = run or {}, memo.ends or {}
  table.insert(memo.ends, cjson.encode({
    job = job.id, status = job.status, caller = job.caller, model = job.model, class = job.priority,
    created = job.created, ended = job.ended, cache = job.cache, run = run.id, request_id = job.request_id,
    placed = run.placed or run.created, started = run.started, attempt = run.attempt,
    code = job.error and cjson.decode(job.error).code or nil,
    usage = answer and string.match(answer, '"usage":(%b{})'),
  }))
end

-- Counts a wait in line by the power of two of ms above it.
function Metrics.count_wait(lane, ms)
  local power = tostring(select(2, math.frexp(ms)))
  lane.waits, lane.changed = lane.waits or {}, true
  lane.waits[power] = (lane.waits[power] or 0) + 1
end

-- Seconds that 19 of 20 waits did not exceed, as if those between two powers were spread evenly; nil without waits.
local function longest_of_most(waits)
  local total, passed = 0, 0
  for _, count in pairs(waits) do
    total = total + count
  end
  for power = 0, 63 do
    local count = waits[tostring(power)] or 0
    passed = passed + count
    if count > 0 and passed >= 0.95 * total then
      return 2 ^ power * (1 - (passed - 0.95 * total) / count / 2) / 1000
    end
  end
end

-- A lane's part of a sample. Its counts begin anew, and are in the sample if the last one was one `step` ago.
local function sampled(lane, step)
  local key = P .. 'lane:' .. lane.name
  local ended = call('HMGET', key, 'answers', 'failures')
  local row = { waiting = FairQueue.waiting(lane), running = Lanes.running(lane), workers = Lanes.ready(lane) }
  row.tokens_per_s = 0
  for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'ready:' .. lane.name, Upkeep.alive_since(), '+inf')) do
    row.tokens_per_s = row.tokens_per_s + (call('HGET', P .. 'worker:' .. id, 'tokens_per_s') or 0)
  end
  if step then
    row.wait_p95_s = longest_of_most(lane.waits or {})
    row.succeeded, row.failed = tonumber(ended[1] or 0), tonumber(ended[2] or 0)
  end
  call('HDEL', key, 'answers', 'failures')
  lane.waits, lane.changed = nil, lane.waits and true or lane.changed
  return row
end

-- Samples `most` lanes and the refusals once in each step; the newest `keep` live for life_s. Returns the time.
transition('sample', { 'allow-oom' }, function()
  local before = string.match(call('LINDEX', P .. 'samples', -1) or '', '%d+')
  local passed = before and math.floor(now / a.step_ms) - math.floor(before / a.step_ms) or 1
  if passed == 0 then
    return now
  end
  local lanes, names, refusals = {}, call('SMEMBERS', P .. 'lanes'), {}
  for at = 1, math.min(#names, a.most) do
    lanes[names[at]] = sampled(Lanes.of(names[at]), passed == 1)
  end
  local refused = passed == 1 and by_name(call('HGETALL', P .. 'refused')) or {}
  for field, count in pairs(refused) do
    local code = string.match(field, '%S+$')
    refusals[code] = (refusals[code] or 0) + count
  end
  call('DEL', P .. 'refused')
  local fields = { now, cjson.encode(lanes), cjson.encode(refusals) }
  call('RPUSH', P .. 'samples', string.format('{"at_ms":%.0f,"lanes":%s,"refusals":%s}', unpack(fields)))
  call('LTRIM', P .. 'samples', -a.keep, -1)
  call('EXPIRE', P .. 'samples', a.life_s)
  return now
end)

-- Adds to the next sample how many requests an API process has refused since its last message, by code.
transition('refuse', { 'allow-oom' }, function()
  for code, count in pairs(a.counts) do
    call('HSET', P .. 'refused', a.message .. ' ' .. code, count)
  end
  -- If there is no leader to sample them they do not grow for ever.
  call('EXPIRE', P .. 'refused', a.life_s, 'NX')
end)

-- Reads {the time, the samples, the oldest first}.
transition('series', { 'no-writes' }, function()
  return { now, call('LRANGE', P .. 'samples', 0, -1) }
end)
