-- Batches: the lines of a file as jobs, in a window that moves over it.
--   <batch>          hash  id, caller, stage (validating, in_progress, finalizing, cancelling; completed, failed, expired,
--                          cancelled), file (the input's id), digest, size, endpoint, window_s, metadata (JSON text),
--                          max_queued and retain_s (of the key that made it), life_s (of its files) and kept_s (its own,
--                          from its end on), created, expires; at (the byte behind the last line taken) and row (its
--                          number), last (the byte behind the last line there is), total; completed, failed, late (of the
--                          failed: those the window closed on), input_tokens, output_tokens, cached_tokens; wrote (when
--                          lines were written down last); errors (JSON text); output and error (ids of files);
--                          body (digest of the request under an idempotency key);
--                          waits_for (lane of the next line, while other lines take batches' whole share of it);
--                          missing (since when bytes are missing) and gone (1 = they are given up);
--                          <stage>_at for each it has come to; token while a process works on it; times in Unix ms
--   <batch>:doubles  zset  numbers of lines whose custom_id stands in an earlier one, by themselves
--   <batch>:good     list  digests of the pieces of its output file, :bad of its error file
--   batching         zset  batches that have not ended, by when a process may take each up
--   batching:<caller> zset those of a caller, by creation
--   batchers         zset  callers by their last turn, counted from one on
--   batches:<caller> zset  by creation
-- Lines that were taken are in lines.lua. The batch's id holds its input and its pieces until its end.

-- Whether a process works on a batch under this token.
local function works_on(batch, token)
  return redis.call('HGET', P .. batch, 'token') == token
end

local function stage_of(batch)
  return redis.call('HGET', P .. batch, 'stage')
end

local function come_to(batch, stage)
  redis.call('HSET', P .. batch, 'stage', stage, stage .. '_at', now)
end
