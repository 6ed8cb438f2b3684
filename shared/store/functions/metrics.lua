-- The ends of jobs, for a courier's log: ended list of JSON rows, written while somebody reads them (`ended`).

-- At most so many reports wait for a reader, and for at most so long.
local MOST_REPORTS = 20000

local REPORTS_S = 3600

-- The time to live is renewed once in so many reports.
local REPORTS_A_LOOK = 100

function Metrics.report_end(job, own)
  if call('EXISTS', P .. 'reading') == 0 then
    return
  end
  local run, answer = own.run and record(own.run) or {}, Webhooks.answer_told(own)
  local waiting = call('RPUSH', P .. 'ended', cjson.encode({
    job = job, status = own.status, caller = own.caller, model = own.model, class = own.priority,
    created = own.created, ended = own.ended, cache = own.cache, run = own.run, request_id = own.request_id,
    placed = run.created, started = run.started, attempt = run.attempt,
    code = own.error and cjson.decode(own.error).code or nil,
    -- Copied as written. Inside a text a quote has a backslash before it, so the pattern matches no text.
    usage = answer and string.match(answer, '"usage":(%b{})') or nil,
  }))
  if waiting > MOST_REPORTS then
    call('LTRIM', P .. 'ended', -MOST_REPORTS, -1)
  end
  if waiting % REPORTS_A_LOOK == 1 then
    call('EXPIRE', P .. 'ended', REPORTS_S)
  end
end

-- Adds what a process has counted since its last news to the sums of all processes.
--   a       process, number (of its news, rising), news {{series, increment}, …}, most (series that are kept), life_s
--   writes  counts hash, counted:<process> string
--   returns added | known (these news were added before) | full (some series are new, and there is no room)
--   repeat  with the same number answers known
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

-- Reads what all processes have counted.
--   a       nothing
--   returns series and sums as a flat list
transition('counts', { 'no-writes' }, function()
  return call('HGETALL', P .. 'counts')
end)

-- Takes the reports of ended jobs, for the log, and has further ones written for `reading_ms` from now.
--   a      limit, reading_ms
--   writes ended list, reading string
--   returns {a JSON object of the job's facts (see above), …}, the oldest first
--   repeat takes the next ones: reports in a lost reply are in no log
transition('ended', { 'allow-oom' }, function()
  local rows = call('LPOP', P .. 'ended', a.limit)
  call('SET', P .. 'reading', 1, 'PX', a.reading_ms)
  return rows or {}
end)
