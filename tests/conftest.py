"""Tests that draw their examples take the time that they need.

Hypothesis gives an example 0.2 s, and all drawing 1 s, which a busy machine misses at times.
"""

from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=(HealthCheck.too_slow,))
settings.load_profile("patient")
