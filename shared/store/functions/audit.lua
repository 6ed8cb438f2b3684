-- What operators did: deeds stream {at_ms, outcome (done | unchanged | not_found), action, subject, key, name, address,
-- request}, the newest max_admin_actions of them. `by`, a flat list from action on, says who asks for what, `operator` by name.

-- A function's answer, with the outcome where it is logged: unless this is a repeat.
function Audit.logged(outcome, answer, repeated)
  if not a.by then
    return answer
  elseif not repeated then
    call('XADD', P .. 'deeds', 'MAXLEN', a.max_admin_actions, '*', 'at_ms', now, 'outcome', outcome, unpack(a.by))
  end
  return { outcome, answer }
end
