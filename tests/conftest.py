"""Tests that draw their examples take the time that they need.

Hypothesis gives an example 0.2 s, and all drawing 1 s, which a busy machine misses at times. Of what a test
draws and `assume` then refuses it takes no fifty before ten good ones, which the dice miss at times.
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "patient",
    deadline=None,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much),
)
settings.load_profile("patient")
