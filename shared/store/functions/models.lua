-- Reads which models operators added and removed while the service runs.
--   a       nothing
--   reads   models hash {lane → row (JSON)}, removed and removing sets, generations hash
--   returns {rows (flat list of lane and row), lanes of models that are removed, lanes where work from before a removal
--           may still wait (flat list of lane and generation)}
transition('models', { 'no-writes' }, function()
  local removing = {}
  for _, lane in ipairs(call('SMEMBERS', P .. 'removing')) do
    add(removing, lane, Queue.generation_of(lane))
  end
  return { call('HGETALL', P .. 'models'), call('SMEMBERS', P .. 'removed'), removing }
end)

-- Serves a model from now on: one that no models file names, with its row, or one that was removed.
--   a      lane, row (JSON text; absent where a models file has it), by and max_admin_actions (see api_keys.lua)
--   writes models and lane:<lane> hashes, removed, draining and paused sets, ready:<lane>, loading:<lane> and
--          prints:<lane> zsets, deeds stream
--   returns added | unchanged | conflict (it is served with another row)
--   repeat harmless
transition('model_add', { 'allow-oom' }, function()
  local removed = call('SREM', P .. 'removed', a.lane) == 1
  local before = call('HGET', P .. 'models', a.lane)
  if a.row and before and before ~= a.row and not removed then
    ApiKeys.record('unchanged')
    return ApiKeys.with_outcome('conflict')
  end
  if a.row and before and before ~= a.row then
    -- What is known of the former model under this id is not true of this one: its workers and cached answers go.
    for _, kind in ipairs({ 'ready:', 'loading:', 'prints:' }) do
      call('DEL', P .. kind .. a.lane)
    end
    Estimates.forget(a.lane)
  end
  if a.row then
    call('HSET', P .. 'models', a.lane, a.row)
  end
  local changed = removed or (a.row and not before)
  if changed then
    -- A model that could not be loaded may be mended by now; a pause or drain was meant for the former one.
    call('HDEL', P .. 'lane:' .. a.lane, 'failed')
    call('SREM', P .. 'paused', a.lane)
    call('SREM', P .. 'draining', a.lane)
    Estimates.begin_epoch(a.lane)
  end
  ApiKeys.record(changed and 'done' or 'unchanged')
  return ApiKeys.with_outcome(changed and 'added' or 'unchanged')
end)

-- Removes a model: from this step on nothing is taken in or begun for it. What runs may finish; `model_sweep` ends what
-- waits, even where the model is served again before that. Its row is kept, so that it is known what was removed.
--   a      lane, by and max_admin_actions (see api_keys.lua)
--   writes removed, removing, paused and draining sets, generations and lane:<lane> hashes, deeds stream
--   returns OK
--   repeat harmless
transition('model_remove', { 'allow-oom' }, function()
  local changed = call('SADD', P .. 'removed', a.lane) == 1
  if changed then
    call('SADD', P .. 'removing', a.lane)
    call('HINCRBY', P .. 'generations', a.lane, 1)
    call('SREM', P .. 'paused', a.lane)
    call('SREM', P .. 'draining', a.lane)
    Estimates.begin_epoch(a.lane)
  end
  ApiKeys.record(changed and 'done' or 'unchanged')
  return ApiKeys.with_outcome('OK')
end)

-- Ends some of the work that waits for a removed model: in its line or, with `walk`, in one of the keys where work waits
-- (for its time, between two attempts, for its inputs or in line). Such work may also end later, in the line or at
-- `admit`. Where the model is served again, only work from before its removal ends.
--   a      lane, limit, failure (JSON), walk {key (schedule | queue:intake | queue:<lane>), cursor ('0' = from the
--          beginning), generation (of the model when the walk began)}, result_s, job_s, event_s, max_events
--   reads  removed set, generations hash
--   writes <work> hash, queue:<lane> and schedule zsets, removing set, and what runs.lua writes
--   returns {how many ended, cursor of the next step ('0' = this walk is over)}
--   repeat harmless
--   events failed
transition('model_sweep', { 'allow-oom' }, function()
  local removed = call('SISMEMBER', P .. 'removed', a.lane) == 1
  if not removed and not a.walk then
    return { 0, '0' }
  end

  local function ends(id)
    if not record(id) then
      Queue.withdraw(id, a.lane)
      return 0
    end
    local lane, model_lane, state = fields(id, 'lane', 'model_lane', 'state')
    if (model_lane or lane) ~= a.lane or is_newer(id) or state == 'running' or not (removed or Queue.superseded(id)) then
      return 0
    end
    Runs.fail_work(id, a.failure)
    return 1
  end

  local LINE = 'queue:' .. a.lane
  local ended = 0
  if not a.walk then
    for _, id in ipairs(call('ZRANGE', P .. LINE, 0, a.limit - 1)) do
      ended = ended + ends(id)
    end
    return { ended, '0' }
  end
  local found = call('ZSCAN', P .. a.walk.key, a.walk.cursor, 'COUNT', a.limit)
  for at = 1, #found[2], 2 do
    ended = ended + ends(found[2][at])
  end
  -- A model that was removed again meanwhile is walked for anew.
  if found[1] == '0' and a.walk.key == LINE and a.walk.generation == Queue.generation_of(a.lane) then
    call('SREM', P .. 'removing', a.lane)
  end
  return { ended, found[1] }
end)

-- Stops a model from taking new jobs; those that wait for it or run go on. `pause` undoes it.
--   a      lane, by and max_admin_actions (see api_keys.lua)
--   writes draining set, lane:<lane> hash, deeds stream
--   returns OK
--   repeat harmless
transition('drain', { 'allow-oom' }, function()
  local changed = call('SADD', P .. 'draining', a.lane) == 1
  if changed then
    Estimates.begin_epoch(a.lane)
  end
  ApiKeys.record(changed and 'done' or 'unchanged')
  return ApiKeys.with_outcome('OK')
end)

-- Stops or resumes the claiming of one lane's work. A drained model that is resumed takes new jobs again, too.
--   a      lane, paused, by and max_admin_actions (see api_keys.lua)
--   writes paused and draining sets, lane:<lane> hash, deeds stream
--   returns OK
--   repeat harmless
transition('pause', { 'allow-oom' }, function()
  local changed = call(a.paused and 'SADD' or 'SREM', P .. 'paused', a.lane) == 1
  if not a.paused then
    changed = call('SREM', P .. 'draining', a.lane) == 1 or changed
  end
  if changed then
    Estimates.begin_epoch(a.lane)
  end
  ApiKeys.record(changed and 'done' or 'unchanged')
  return ApiKeys.with_outcome('OK')
end)
