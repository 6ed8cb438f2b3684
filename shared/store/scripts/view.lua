-- Reads one job of a caller with its run and lane.
--   a       job, caller, worker_ttl_s
--   returns the view, or nil where the caller has no such job
-- @include base
-- @include viewing

if not owned(a.job, a.caller) then
  return nil
end
return view(a.job)
