-- What operators did: deeds stream {at (Unix ms), action, subject, outcome (done | unchanged | not_found), key,
-- name, address, request}, the newest max_admin_actions of them. `by` {action, subject, key, name, address, request} says
-- who asks for what; without `by` nothing is logged, with it with_outcome() answers {outcome, the script's own answer}.

-- Stays so where a repeat finds the act logged already.
local outcome = 'done'

local function record(said)
  outcome = said
  if a.by then
    redis.call('XADD', P .. 'deeds', 'MAXLEN', a.max_admin_actions, '*', 'at', now, 'action', a.by.action,
      'subject', a.by.subject, 'outcome', outcome, 'key', a.by.key, 'name', a.by.name, 'address', a.by.address, 'request', a.by.request)
  end
end

local function with_outcome(answer)
  return a.by and { outcome, answer } or answer
end
