-- Calls of webhooks: one for each notice and each target, which is an endpoint's id or `own`, the webhook that the job
-- itself named. A call is <notice>:<target>; what is known of it stands in its notice, as to:<target>: JSON of host, tries,
-- since (when it was taken or put off), token (its courier's), asked (made even where the endpoint is disabled).
--   calls:<caller> <host>  zset  calls that are due, first come first
--   calls:<caller>         zset  hosts with such calls, in the order of their turns; not those with per_host under way
--   callers                zset  callers with such hosts, likewise
--   calls_later            zset  <caller> <host> <call>: calls by the time at which they come (back) in line, those that are
--                                tried again by their next try, those under way by the end of their courier's lease
--   calls_under_way        zset  the same members, all with the score 0: counted by their beginnings
-- A line may hold calls, hosts and callers that have nothing to do: they are taken out when their turn comes.

local LATER, UNDER_WAY = 'calls_later', 'calls_under_way'

-- Steps of one call, and callers that it looks at: those that are passed over have calls under way, so no more of them
-- stand before the others than all couriers have threads.
local STEPS, CALLERS = 50, 200

local CLAIM_MS = 60000

local function line(path)
  return P .. 'calls:' .. path
end

local function member(id, caller, host)
  return caller .. ' ' .. host .. ' ' .. id
end

-- Calls under way of a caller, or to a caller's host (`<caller> <host>`); `!` follows the space.
local function under_way(path)
  return call('ZLEXCOUNT', P .. UNDER_WAY, '[' .. path .. ' ', '(' .. path .. '!')
end

function Webhooks.is_under_way(id, caller, host)
  return call('ZSCORE', P .. UNDER_WAY, member(id, caller, host))
end

-- Lets a host have its turn.
local function look(caller, host)
  call('ZADD', line(caller), 'NX', now, host)
  call('ZADD', P .. 'callers', 'NX', now, caller)
end

function Webhooks.line_up(id, caller, host)
  call('ZADD', line(caller .. ' ' .. host), now, id)
  look(caller, host)
end

-- Takes a call out, wherever it stands.
function Webhooks.withdraw(id, caller, host)
  local entry = member(id, caller, host)
  call('ZREM', line(caller .. ' ' .. host), id)
  call('ZREM', P .. LATER, entry)
  if call('ZREM', P .. UNDER_WAY, entry) == 1 then
    look(caller, host)
  end
end

local function parts_of(id)
  return string.match(id, '^(.+):([^:]+)$')
end

-- What is known of a call, and its caller; nil where it is over.
local function state_of(id)
  local notice, target = parts_of(id)
  local caller, json = unpack(call('HMGET', P .. notice, 'caller', 'to:' .. target))
  return json and cjson.decode(json), caller
end

local function keep(id, state)
  local notice, target = parts_of(id)
  state.since = now
  call('HSET', P .. notice, 'to:' .. target, cjson.encode(state))
end

local function drop(id)
  local state, caller = state_of(id)
  if state then
    Webhooks.withdraw(id, caller, state.host)
    Notices.close(parts_of(id))
  end
end

-- Whether calls of a job's own webhook are still to be made.
function Webhooks.untold(job)
  return call('HEXISTS', P .. job .. ':ended', 'to:own') + call('HEXISTS', P .. job .. ':began', 'to:own') > 0
end

-- Forgets what happened to a job, with the calls that are still to be made.
function Webhooks.drop_notices(job)
  for _, notice in ipairs({ job .. ':began', job .. ':ended' }) do
    for _, name in ipairs(call('HKEYS', P .. notice)) do
      local target = string.match(name, '^to:(.+)$')
      if target then
        drop(notice .. ':' .. target)
      end
    end
    call('DEL', P .. notice)
  end
end

-- The clock was set back: calls that were taken or put off by the former clock wait as long as they were to, no longer.
-- Those that the right clock put off stay, and so does what is beyond a bounded piece of work.
function Webhooks.bring_forward()
  local ahead = call('ZREVRANGEBYSCORE', P .. LATER, '+inf', '(' .. now, 'WITHSCORES', 'LIMIT', 0, 2000)
  for i = 1, #ahead, 2 do
    local state = state_of(string.match(ahead[i], '%S+$'))
    local early = (state and state.since or now) - now
    if early > 0 then
      call('ZADD', P .. LATER, string.format('%.0f', ahead[i + 1] - early), ahead[i])
    end
  end
end

-- What a courier is given of a call; nil where its webhook is gone, or disabled and the caller did not ask for the call.
local function given(id, state)
  local notice, target = parts_of(id)
  local own = target == 'own'
  local to = fields_at(P .. (own and string.match(notice, '^[^:]+') .. ':hook' or target), { 'url', 'secret', 'disabled' })
  if not to.url or to.disabled and not (own or state.asked) then
    return nil
  end
  local secrets = { to.secret }
  for former in pairs(own and {} or Endpoints.formers_of(target)) do
    table.insert(secrets, former)
  end
  return { id, to.url, secrets, state.tries, call('HGETALL', P .. notice) }
end

-- Puts calls in line whose time has come.
local function bring_due()
  for _, entry in ipairs(call('ZRANGEBYSCORE', P .. LATER, '-inf', now, 'LIMIT', 0, STEPS)) do
    local caller, host, id = string.match(entry, '^(%S+) (%S+) (%S+)$')
    call('ZREM', P .. LATER, entry)
    call('ZREM', P .. UNDER_WAY, entry)
    Webhooks.line_up(id, caller, host)
  end
end

-- The caller whose turn it is: the one with the fewest calls under way, of several the longest without a turn.
local function next_caller()
  local best, fewest = nil, a.room > a.reserved and math.huge or 0
  for _, caller in ipairs(call('ZRANGE', P .. 'callers', 0, CALLERS - 1)) do
    local count = under_way(caller)
    if count == 0 then
      return caller
    elseif count < fewest then
      best, fewest = caller, count
    end
  end
  return best
end

-- Puts a caller or a host that had its turn after the others.
local function turn_over(key, name)
  local last = call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2]
  call('ZADD', key, string.format('%.0f', math.max(now, last + 1)), name)
end

-- The next call of a caller, and its host; nil where there is none at the host whose turn it is.
local function next_call(caller)
  local host = call('ZRANGE', line(caller), 0, 0)[1]
  if not host then
    call('ZREM', P .. 'callers', caller)
    return nil
  end
  local path = caller .. ' ' .. host
  local id = under_way(path) < a.per_host and call('ZPOPMIN', line(path))[1]
  turn_over(P .. 'callers', caller)
  if id then
    turn_over(line(caller), host)
  else
    call('ZREM', line(caller), host)
  end
  return id, host
end

-- Gives a call to the courier, unless nobody is to be called any more.
local function lease(id, caller, host)
  local state = state_of(id)
  local delivery = state and given(id, state)
  if not delivery then
    drop(id)
    return nil
  end
  state.token = a.token
  keep(id, state)
  call('ZADD', P .. UNDER_WAY, 0, member(id, caller, host))
  call('ZADD', P .. LATER, now + a.lease_ms, member(id, caller, host))
  call('SET', P .. 'claim:' .. a.token, id, 'PX', CLAIM_MS)
  return delivery
end

-- Takes the next call of a webhook that is due, under a lease: callers take turns, and so do the hosts of each.
-- Hosts with enough calls under way are passed over, and the last threads of a courier are reserved for callers without
-- a call under way: when one caller's receivers hang, the others' calls are still made.
--   a      token, lease_ms, per_host (calls at once to one host of a caller), room (threads of this courier that are free,
--          this one included), reserved (threads for callers without a call)
--   returns {id, url, secrets, tries, notice (a flat list)}, nil where nothing is due, `again` where there is more to look
--           at; all secrets sign; without any the service's own does
--   repeat with the same token (a lost reply) answers the same call
transition('deliver', { 'allow-oom' }, function()
  local taken = call('GET', P .. 'claim:' .. a.token)
  local state = taken and state_of(taken)
  if taken then
    return state and state.token == a.token and given(taken, state) or nil
  end
  bring_due()
  for _ = 1, STEPS do
    local caller = next_caller()
    if not caller then
      return nil
    end
    local ok, delivery = pcall(function()
      local id, host = next_call(caller)
      return id and lease(id, caller, host)
    end)
    if not ok then
      -- A call that cannot be read is out of its line by now; with a line, its caller waits for the next call.
      call('ZREM', P .. 'callers', caller)
      set_aside('calls:' .. caller, delivery)
    elseif delivery then
      return delivery
    end
  end
  return 'again'
end)

-- Rows that a job keeps (two calls of ten tries and some replays), and that an endpoint keeps.
local JOB_ROWS, ENDPOINT_ROWS = 50, 200

local function log_row(owner, rows)
  call('RPUSH', P .. owner .. ':deliveries', a.row)
  call('LTRIM', P .. owner .. ':deliveries', -rows, -1)
end

-- Returns whether the job is to be forgotten: it is not to be stored, and nothing is still to be told of it.
local function report_to_job(job, kind)
  log_row(job, JOB_ROWS)
  if a.gone then
    call('HSET', P .. job .. ':hook', 'disabled', 1)
    drop(job .. ':began:own')
    drop(job .. ':ended:own')
  elseif a.taken and kind == 'ended' then
    call('HSETNX', P .. job .. ':hook', 'delivered', now)
  end
  local record = read(job)
  if not record or not record.status then
    return false
  end
  Runs.expire_job(record)
  write(record)
  return record.unstored and not Webhooks.untold(job)
end

-- Records how a try of a webhook's call went: the call is over, or is tried again later.
--   a      id, token, url (that was called), row (JSON text {event, at, ms, status, error}; for an endpoint id as well),
--          taken (true = the receiver has it), gone (true = it wants no more), delay_ms (until the next try; absent =
--          there is none), job_s
--   writes the notice's hash, the lines above; <job>:hook hash and <job>:deliveries list, or the endpoint's
--   returns written | moved (written; its endpoint has another url by now, and is called there at once) | forget
--           (written, and its job is not to be stored: `purge`) | lost (another courier's, or deleted meanwhile; a
--           repeat)
transition('told', { 'allow-oom' }, function()
  local notice, target = parts_of(a.id)
  local state, caller = state_of(a.id)
  if not state or state.token ~= a.token then
    return 'lost'
  end
  Webhooks.withdraw(a.id, caller, state.host)
  -- That the former url of an endpoint is gone says nothing about its new one.
  local url, host = unpack(call('HMGET', P .. target, 'url', 'host'))
  local moved = a.gone and url and url ~= a.url
  if moved then
    a.gone, a.delay_ms, state.host = nil, 0, host
  end
  if a.delay_ms and not a.gone then
    state.token, state.tries = nil, state.tries + 1
    keep(a.id, state)
    call('ZADD', P .. LATER, now + a.delay_ms, member(a.id, caller, state.host))
  else
    Notices.close(notice, target)
  end
  if target == 'own' then
    return report_to_job(string.match(notice, '^([^:]+):(%l+)$')) and 'forget' or 'written'
  end
  if url then
    log_row(target, ENDPOINT_ROWS)
  end
  if url and a.gone then
    -- Calls that wait for it are forgotten when their turn comes.
    Endpoints.disable_endpoint(target, 'gone')
  end
  return moved and 'moved' or 'written'
end)

-- Keeps the body of a notice before it is first sent, so that every call of the notice sends the same bytes.
--   a       id (of the call), token; text = the body
--   returns the body to send, nil where the call is another courier's, or was deleted meanwhile
--   repeat  answers the same
transition('kept', { 'allow-oom' }, function()
  local state, key = state_of(a.id), P .. parts_of(a.id)
  if not state or state.token ~= a.token then
    return nil
  end
  if call('HSETNX', key, 'body', text) == 1 then
    call('HDEL', key, 'facts', 'result', 'data')
  end
  return call('HGET', key, 'body')
end)

-- Sends a job's own webhook its end again, from the first try, whatever became of it before.
--   a      job, caller, job_s, worker_ttl_s, event_s, max_events
--   writes <job>:ended and <job>:hook hashes, the lines of calls
--   returns {word} for unhooked (it has none) | unended | expired (its answer is no longer kept), {queued, view}, nil
--           where the caller has no such job
--   repeat harmless: a call that waits is due at once, one that a courier has is left alone
transition('replay', {}, function()
  local job = owned(a.job, a.caller)
  if not job then
    return nil
  end
  Runs.catch_up(job)
  local hook = P .. a.job .. ':hook'
  local host = call('HGET', hook, 'host')
  if not host then
    return { 'unhooked' }
  elseif not job.status then
    return { 'unended' }
  elseif not Notices.tell_to(a.job .. ':ended', 'own', a.caller, host) then
    return { 'expired' }
  end
  call('HDEL', hook, 'disabled')
  if not job.unstored then
    unset(job, 'till')
    write(job)
    for _, key in ipairs({ P .. a.job, hook, P .. a.job .. ':deliveries' }) do
      call('PERSIST', key)
    end
  end
  return { 'queued', Jobs.view(job) }
end)
