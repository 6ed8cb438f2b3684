-- Which row a worker was started with: `a.row` (JSON text; absent where a models file has it).

-- Whether the worker's model was removed meanwhile and added again with another row: it holds the wrong model.
local function outdated()
  local row = a.row and redis.call('HGET', P .. 'models', a.lane)
  return row and row ~= a.row
end
