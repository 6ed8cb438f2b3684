-- What comes from another store (shared/store/transfer).

-- Takes in a job that ended in another store, as it was there: its end is told to `untold` endpoints (ids) only, and to its own
-- webhook unless that was `told`. Beside the arguments of `submit`: request; status, ended, error (JSON), started, first (text), attempts, cache (its word),
-- retried (retry_of), goes (Unix ms; absent = once its webhook was called); and where its answer is kept answer_goes, print (where the
-- cache leads to it), bare, origin, texts (data of its text events). Text: the result. A repeat changes nothing.
transition('restore', {}, function()
  if call('EXISTS', P .. a.job) == 1 then
    return 'known'
  end
  memo['endpoints:' .. a.caller] = a.untold
  memo[a.job .. ':hook'] = a.told and {} or nil
  local job = Admission.begin_job()
  job.cache, job.retry_of = a.cache, a.retried
  Memory.charge(a.job, a.caller, Runs.bytes_of_job(job), 0)
  if a.answer_goes then
    Admission.begin_work(job, a, a.request, true)
    job.started, job.attempts, job.attempt, job.print, job.cache = a.started, a.attempts, #a.attempts, a.print, a.cache
    job.running_id, job.t.first = a.started and Events.number(job) or nil, a.first
    now = a.ended
    local rest = a.texts[1] and Events.rest(job, a.texts) or nil
    Runs.end_run(job, a.status, a.error, true, { result = text ~= '' and text or nil, bare = a.bare, origin = a.origin, rest = rest })
    if a.print then
      call('SET', Runs.cache_key(job, a.print), a.job, 'PXAT', a.answer_goes)
    end
    job.kept = a.answer_goes
    call('PEXPIRE', P .. a.job .. ':answer', a.answer_goes - clock())
  else
    now = a.ended
    Runs.end_job(job, a.status, 1, false, a.error)
  end
  if a.goes then
    local till = math.max(a.goes, a.answer_goes or 0)
    job.till = a.goes
    Memory.prolong(a.job, (till - now) / 1000)
    call('PEXPIRE', P .. a.job, till - clock())
  end
  write(job)
  return 'restored'
end)
