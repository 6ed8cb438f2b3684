-- A model that was removed and came back is another one: generations hash {lane → how often it was removed}. Runs, and
-- jobs whose inputs are elsewhere, remember theirs. Work that an older release took in has none, and belongs to any.

local function generation_of(lane)
  return redis.call('HGET', P .. 'generations', lane) or '0'
end

-- The lane of the work's model where that was removed since the work was taken in; else nil.
local function superseded(id)
  local lane, model_lane, own = unpack(redis.call('HMGET', P .. id, 'lane', 'model_lane', 'generation'))
  local model = model_lane or lane
  return own and own ~= generation_of(model) and model or nil
end
