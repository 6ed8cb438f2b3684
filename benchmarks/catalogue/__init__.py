"""Many models on few devices: what callers wait for, and how much of the devices' time goes into loading."""
