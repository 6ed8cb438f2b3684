"""The command line: runs the service on this machine, and calls a running one over HTTP.

Imports `shared`; reaches API and workers only as processes and over HTTP.
"""
