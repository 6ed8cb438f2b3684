-- What operators did: deeds stream {at (Unix ms), action, subject, outcome (done | unchanged | not_found), key, name,
-- address, request}, the newest max_deeds of them. `by` {action, subject, key, name, address, request} says who asks for what;
-- without it nothing is written down.

local function record(outcome)
  if a.by then
    redis.call('XADD', P .. 'deeds', 'MAXLEN', a.max_deeds, '*', 'at', now, 'action', a.by.action, 'subject', a.by.subject,
      'outcome', outcome, 'key', a.by.key, 'name', a.by.name, 'address', a.by.address, 'request', a.by.request)
  end
end
