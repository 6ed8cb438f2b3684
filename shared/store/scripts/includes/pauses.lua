-- The longest pause between two attempts at a run; the settings bound the backoff alike.
local LONGEST_PAUSE_MS = 60000
