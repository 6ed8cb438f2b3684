-- The ends of jobs, for a courier's log: ended list of JSON rows, written while somebody reads them (`reading`). Samples of the
-- last minutes, for charts: series list of JSON objects, written by the leader of the maintenance.

-- At most so many reports wait for a reader, and for at most so long.
local MOST_REPORTS, REPORTS_S = 20000, 3600

-- Takes the fields of a job that has ended and of its run (nil where it has none), and its answer as JSON text or nil.
function Metrics.report_end(job, run, answer)
  if call('EXISTS', P .. 'reading') == 0 then
    return
  end
  run = run or {}
  call('RPUSH', P .. 'ended', cjson.encode({
    job = job.id, status = job.status, caller = job.caller, model = job.model, class = job.priority,
    created = job.created, ended = job.ended, cache = job.cache, run = run.id, request_id = job.request_id,
    placed = run.placed or run.created, started = run.started, attempt = run.attempt,
    code = job.error and cjson.decode(job.error).code or nil,
    usage = answer and string.match(answer, '"usage":(%b{})'),
  }))
  call('LTRIM', P .. 'ended', -MOST_REPORTS, -1)
  call('EXPIRE', P .. 'ended', REPORTS_S)
end

-- Adds what a process has counted since its last news, {{series, increment}, …} under a rising `number`, to the sums of all (counts,
-- a hash of `most` series); counted:<process>, a string, has the last number. Returns added | known (a repeat) | full (some series
-- are new, and there is no room).
transition('count', { 'allow-oom' }, function()
  local last = tonumber(call('GET', P .. 'counted:' .. a.process) or 0)
  if a.number <= last then
    return 'known'
  end
  call('SET', P .. 'counted:' .. a.process, a.number, 'EX', a.life_s)
  local word = 'added'
  for _, one in ipairs(a.news) do
    if call('HLEN', P .. 'counts') < a.most or call('HEXISTS', P .. 'counts', one[1]) == 1 then
      call('HINCRBYFLOAT', P .. 'counts', one[1], one[2])
    else
      word = 'full'
    end
  end
  return word
end)

-- Takes the oldest reports of ended jobs (JSON, see above), for the log, and has further ones written for `reading_ms` from now.
-- A repeat takes the next ones: reports in a lost reply are in no log.
transition('ended', { 'allow-oom' }, function()
  local rows = call('LPOP', P .. 'ended', a.limit)
  call('SET', P .. 'reading', 1, 'PX', a.reading_ms)
  return rows or {}
end)

-- Samples what waits, what runs and who is ready, lane by lane, `most` lanes, beside the fields of a text, a JSON object with counts;
-- the newest `keep` samples stay for life_s. Returns the time.
transition('sample', { 'allow-oom' }, function()
  local lanes, names = {}, call('SMEMBERS', P .. 'lanes')
  for at = 1, math.min(#names, a.most) do
    local lane = Lanes.of(names[at])
    lanes[names[at]] = { Queue.waiting(lane), Lanes.running(lane), Lanes.ready(lane) }
  end
  local fields = string.sub(text, 2)
  call('RPUSH', P .. 'series', string.format('{"at_ms":%.0f,"lanes":%s,%s', now, cjson.encode(lanes), fields))
  call('LTRIM', P .. 'series', -a.keep, -1)
  call('EXPIRE', P .. 'series', a.life_s)
  return now
end)

-- Reads {the time, the samples, the oldest first}.
transition('series', { 'no-writes' }, function()
  return { now, call('LRANGE', P .. 'series', 0, -1) }
end)
