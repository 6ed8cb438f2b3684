-- Webhooks. A job or a batch has at most one target: its own webhook, or the default webhook of its API key
-- (api_keys.lua). Each of its events that the target wants is one call, <id>:<kind>; the kind is `began` or `ended`.
--   <id>:hook        hash  the target. Its own webhook: url, host, events (words), and secret, or the `key` that signs.
--                          A default webhook: only the `key`. Then `delivered`, when the receiver took the end, and
--                          `gone`, 1 after it answered 410. Each call that is to be made is a field, named by its kind:
--                          how many tries failed, the token of the courier that makes it (- if none), its host
--   <id>:deliveries  list  the tries (JSON), the newest last
--   calls            zset  hosts, by when the next call of each may be made
--   calls:<host>     zset  calls that wait, by when they are due
--   calling:<host>   zset  calls that couriers make, by when their leases end
--   failed:<caller>  zset  jobs and batches whose last try to deliver the end failed, by when
-- <id>:hook and <id>:deliveries live as long as their job or batch. A call without them is dropped at its turn. The
-- states of a call are a table in docs/architecture.md.

local KINDS = { 'began', 'ended' }
local ROWS = 50 -- tries that a job keeps: two calls of ten tries, and some redeliveries
local DROPS = 32 -- calls that one claim drops before it answers `again`

local function waiting_key(host) return P .. 'calls:' .. host end

local function making_key(host) return P .. 'calling:' .. host end

local function first_score(key)
  return tonumber(call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
end

-- Sets when a host is looked at next: when its first call is due, unless it has as many calls as may be, or when the
-- first lease ends. A host that is due keeps its turn.
local function arm(host)
  local turns, making = P .. 'calls', making_key(host)
  local due = call('ZCARD', making) < S.host_calls and first_score(waiting_key(host)) or nil
  local at = math.min(due or math.huge, first_score(making) or math.huge)
  if at == math.huge then
    call('ZREM', turns, host)
  elseif at > now then
    call('ZADD', turns, at, host)
  else
    call('ZADD', turns, 'LT', now, host)
  end
end

-- The host, token and failed tries of a call that is to be made.
local function state_of(id, kind)
  local tries, token, host = string.match(call('HGET', P .. id .. ':hook', kind) or '', '^(%d+) (%S+) (.+)$')
  return host, token, tonumber(tries)
end

local function set_state(id, kind, host, token, tries)
  call('HSET', P .. id .. ':hook', kind, string.format('%d %s %s', tries, token, host))
end

-- Puts a call into the line of a host.
local function put(id, kind, host, due, tries)
  set_state(id, kind, host, '-', tries)
  call('ZREM', making_key(host), id .. ':' .. kind)
  call('ZADD', waiting_key(host), due, id .. ':' .. kind)
  arm(host)
end

-- Takes a call out of its line, for good.
local function take_out(id, kind)
  local host = state_of(id, kind)
  if host then
    call('ZREM', waiting_key(host), id .. ':' .. kind)
    call('ZREM', making_key(host), id .. ':' .. kind)
    call('HDEL', P .. id .. ':hook', kind)
    arm(host)
  end
end

-- The target's fields from the API key whose default it is, or whose secret signs; no url if the key is over.
local function with_key(hook)
  local names = { 'hook_url', 'hook_host', 'hook_events', 'hook_secret', 'hook_formers', 'expires_ms', 'revoked_ms' }
  local key = fields_at(P .. hook.key, names)
  if not (key.hook_secret and ApiKeys.is_in_force(key)) then
    return {}
  end
  local secrets = { key.hook_secret }
  for former in pairs(ApiKeys.formers(key.hook_formers)) do
    table.insert(secrets, former)
  end
  local own = hook.url and hook or { url = key.hook_url, host = key.hook_host, events = key.hook_events }
  return { url = own.url, host = own.host, events = own.events, secrets = secrets, gone = hook.gone }
end

-- The target of a job or a batch: url (nil if unreadable), host, events, secrets (empty = the service's own signs),
-- gone.
function Webhooks.target(id)
  local name = 'target of ' .. id
  if not memo[name] then
    local ok, hook = pcall(fields_at, P .. id .. ':hook', { 'url', 'host', 'events', 'secret', 'key', 'gone' })
    local readable = ok and (not hook.url or hook.host and hook.events)
    if not readable and writable then
      note_bad(id .. ':hook', not ok and hook or 'it lacks host or events')
      call('DEL', P .. id .. ':hook')
    end
    hook = readable and hook or {}
    hook.secrets = { hook.secret }
    memo[name] = hook.key and with_key(hook) or hook
  end
  return memo[name]
end

-- Whether a list of words names an event of this type.
local function wants(events, type)
  return string.find(' ' .. (events or '') .. ' ', ' ' .. type .. ' ', 1, true)
end

-- Gives a new job or batch its target, a table of fields, if any. Returns its bytes, and 1 if it wants the beginning.
function Webhooks.attach(id, hook)
  if hook then
    call('HSET', P .. id .. ':hook', unpack(flat(hook)))
    local bytes = Memory.HOOK_BYTES + #(hook.url or '') + #(hook.secret or '')
    return bytes, wants(Webhooks.target(id).events, 'job.running') and 1 or nil
  end
end

-- Puts the call for an event in line, if the target wants it. Returns how many calls that makes.
function Webhooks.announce(id, kind, type)
  local target = Webhooks.target(id)
  if not target.url or target.gone or not wants(target.events, type) then
    return 0
  end
  put(id, kind, target.host, now, 0)
  return 1
end

-- What a call tells, the same at each try: a job's view, or fields of a batch. nil if the job is gone or has not ended.
local function event_of(id, kind)
  local job = is_job(id) and stored(id)
  if job and not job.gone and (job.status or kind == 'began') then
    memo.whole = true
    return Jobs.view(id)
  end
  return not is_job(id) and Batches.event(id) or nil
end

-- Leases a call that is out of its line; nil if it has no receiver, or one at another host by now.
local function lease(id, kind, host)
  local target, event = Webhooks.target(id), event_of(id, kind)
  local _, _, tries = state_of(id, kind)
  if not tries or not target.url or target.gone or not event then
    take_out(id, kind)
    return nil
  elseif target.host ~= host then
    put(id, kind, target.host, now, tries)
    return nil
  end
  call('ZADD', making_key(host), now + S.call_ms, id .. ':' .. kind)
  set_state(id, kind, host, a.token, tries)
  return { id, kind, target.url, target.secrets, tries, event }
end

-- Takes the first call of a host that is due, if the host may have another one. Calls whose courier died wait again.
local function next_of(host)
  local waiting, making = waiting_key(host), making_key(host)
  for _, lost in ipairs(call('ZRANGEBYSCORE', making, '-inf', now)) do
    call('ZREM', making, lost)
    call('ZADD', waiting, now, lost)
  end
  local full = call('ZCARD', making) >= S.host_calls
  local member = not full and call('ZRANGEBYSCORE', waiting, '-inf', now, 'LIMIT', 0, 1)[1]
  if not member then
    return nil
  end
  call('ZREM', waiting, member)
  local id, kind = string.match(member, '^(.+):(%l+)$')
  return try(lease, member, id, kind, host)
end

-- Takes the next call that is due, under a lease for `token`; hosts take turns. Returns {id, kind, url, secrets, failed
-- tries, event}, `again` if many calls were dropped, nil if none is due.
transition('call_claim', { 'allow-oom' }, function()
  for _ = 1, DROPS do
    local host = call('ZRANGEBYSCORE', P .. 'calls', '-inf', now, 'LIMIT', 0, 1)[1]
    if not host then
      return nil
    end
    call('ZREM', P .. 'calls', host)
    local leased = next_of(host)
    arm(host)
    if leased then
      return leased
    end
  end
  return 'again'
end)

-- Records a try of a call: row (JSON).
local function note_try(id, row)
  local key, left_ms = P .. id .. ':deliveries', call('PTTL', P .. id .. ':hook')
  if call('RPUSH', key, row) == 1 and left_ms > 0 then
    call('PEXPIRE', key, left_ms)
  end
  call('LTRIM', key, -ROWS, -1)
end

-- Records how a claimed call went; the arguments are those of `report` in shared/store/webhooks.py. Returns settled |
-- forget (settled, and its job is not to be stored: `purge`) | lost (the claim is another's).
transition('call_report', { 'allow-oom' }, function()
  local key = P .. a.id .. ':hook'
  local host, token, tries = state_of(a.id, a.kind)
  if token ~= a.token then
    return 'lost'
  end
  if a.row then
    try(note_try, a.id .. ':deliveries', a.id, a.row)
    tries = tries + 1
  end
  if a.pause then
    put(a.id, a.kind, host, now + a.pause, tries)
  else
    take_out(a.id, a.kind)
  end
  if a.gone then
    call('HSET', key, 'gone', 1)
  end
  local job = is_job(a.id) and read(a.id)
  if a.kind == 'ended' and a.row then
    local failed = P .. 'failed:' .. a.caller
    if a.taken then
      call('ZREM', failed, a.id)
      call('HSETNX', key, 'delivered', now)
    elseif not (job and job.unstored) then
      note_time(failed, a.id, math.max(S.hook_s, S.job_s))
    end
  end
  return job and job.unstored and not Webhooks.has_pending(a.id) and 'forget' or 'settled'
end)

-- Whether calls of a job are still to be made.
function Webhooks.has_pending(id)
  local began, ended, gone = unpack(call('HMGET', P .. id .. ':hook', 'began', 'ended', 'gone'))
  return (began or ended) and not gone
end

-- What a job's caller sees of its webhook, never its secret: {url, events, delivered}, the tries, and after a failed
-- one when the next is due. nil if it has none.
function Webhooks.view(id)
  local target = Webhooks.target(id)
  if not target.url then
    return nil
  end
  local delivered, due = call('HGET', P .. id .. ':hook', 'delivered'), nil
  local rows = call('LRANGE', P .. id .. ':deliveries', 0, -1)
  for _, kind in ipairs(rows[1] and not delivered and KINDS or {}) do
    local host = state_of(id, kind)
    due = host and call('ZSCORE', waiting_key(host), id .. ':' .. kind) or due
  end
  return { target.url, target.events, delivered or '' }, rows, due
end

-- The same of a job of pages.
transition('batch_hook', { 'no-writes' }, function()
  return Records.owned('batches', a.caller, a.id) and { Webhooks.view(a.id) } or {}
end)

-- Drops the calls of a job, and its target.
function Webhooks.drop(id, caller)
  for _, kind in ipairs(KINDS) do
    take_out(id, kind)
  end
  call('ZREM', P .. 'failed:' .. caller, id)
  call('DEL', P .. id .. ':hook', P .. id .. ':deliveries')
end

-- A target lives as long as its job or batch, `seconds` from now.
function Webhooks.expire(id, seconds)
  for _, suffix in ipairs({ ':hook', ':deliveries' }) do
    call('EXPIRE', P .. id .. suffix, seconds)
  end
end

-- Sends the end of a job or batch again, from the first try, unless a courier makes the call now. Returns queued |
-- unhooked (there is no target) | unended | expired (the answer is no longer stored).
local function send_again(id, caller)
  local target, event = Webhooks.target(id), event_of(id, 'ended')
  local _, token = state_of(id, 'ended')
  if not target.url then
    return 'unhooked'
  elseif not event then
    return 'unended'
  elseif is_job(id) and stored(id).status == 'succeeded' and event[10] == '' then
    return 'expired'
  elseif not token or token == '-' then
    take_out(id, 'ended')
    put(id, 'ended', target.host, now, 0)
  end
  call('HDEL', P .. id .. ':hook', 'gone')
  call('ZREM', P .. 'failed:' .. caller, id)
  return 'queued'
end

-- The same for one job or batch: {word, for a job that is queued its view}, nil if the caller has none of this id.
transition('redeliver', {}, function()
  local job = owned(a.job, a.caller)
  if not job and not Records.owned('batches', a.caller, a.job) then
    return nil
  end
  local run = job and not job.status and Runs.of(job)
  if run and Runs.outcome(run) then
    Runs.end_with_work(job, run)
  end
  local word = send_again(a.job, a.caller)
  return { word, job and word == 'queued' and Jobs.view(job.id) or nil }
end)

-- The same for up to `limit` ends that failed from `since` to `till` (Unix ms). Returns {sent, looked at, till}.
transition('redeliver_failed', {}, function()
  local key, sent = P .. 'failed:' .. a.caller, 0
  local ids = call('ZRANGEBYSCORE', key, a.since, a.till or now, 'LIMIT', 0, a.limit)
  for _, id in ipairs(ids) do
    sent = sent + (try(send_again, id, id, a.caller) == 'queued' and 1 or 0)
    call('ZREM', key, id)
  end
  return { sent, #ids, a.till or now }
end)

local HOSTS = 200 -- hosts that one count of the calls looks at

-- Counts calls: {due, waiting for a later try, being made}, of the hosts whose turn is next.
transition('calls', { 'no-writes' }, function()
  local due, all, making = 0, 0, 0
  for _, host in ipairs(call('ZRANGE', P .. 'calls', 0, HOSTS - 1)) do
    due = due + call('ZCOUNT', waiting_key(host), '-inf', now)
    all = all + call('ZCARD', waiting_key(host))
    making = making + call('ZCARD', making_key(host))
  end
  return { due, all - due, making }
end)
