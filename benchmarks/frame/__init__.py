"""What every benchmark is made of: start, load, measure, report.

start    `services`: the record server and the service's processes, on loopback, ended whatever happens
load     `load`: requests in a closed loop; `simulation`: callers and engines on a clock of their own
measure  `statistics`: summaries, limits and ratios; `usage`: processor time and memory
report   `report`: tables, results/<name>.json and .svg; `command`: the command line around all of it

A benchmark is a function from its options to `Findings`, handed to `command.main`.
"""
