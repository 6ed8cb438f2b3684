-- Cancels a caller's job: it leaves its run, and the last job to leave ends the run.
--   a      job, caller, result_s, job_s, event_s, max_events, worker_ttl_s
--   writes <job> hash, <run> hash, <run>:live set
--   returns the view, or nil where the caller has no such job
--   repeat harmless; a job that has ended stays as it ended
--   events cancelled (the job's own)
-- @include base
-- @include ending
-- @include viewing

if not owned(a.job, a.caller) then
  return nil
end
dirty_first()
leave(a.job, 'cancelled', nil)
return view(a.job)
