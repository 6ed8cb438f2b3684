"""The paths, one file for each family: a handler reads, calls one service and answers.

In: HTTP requests. Out: HTTP answers. Imports everything in `api` but `api.app`.
"""
