-- Who was heard of since then is alive. watch.lua says who is spared behind an outage.

local function alive_since()
  local gap = fields_at(P .. 'gap', { 'from', 'till' })
  -- A clock that was set back does not look ahead.
  local at = gap.till and now < tonumber(gap.till) and math.min(now, gap.from) or now
  return at - a.worker_ttl_s * 1000
end
