-- A worker heard of since alive_since() is alive. watch.lua says which workers are spared after an outage.

local function alive_since()
  local gap = fields_at(P .. 'gap', { 'from', 'till' })
  -- After the clock was set back the gap may lie ahead of it.
  local at = gap.till and now < tonumber(gap.till) and math.min(now, gap.from) or now
  return at - a.worker_ttl_s * 1000
end
