"""The command line: runs the service on this machine, and calls a running one over HTTP.

Reaches API and workers only as processes and over HTTP.

Which commands are there, and in which files? `cli.py` (`COMMANDS`).
What does an exit code mean? `exits.py` (`MEANINGS`).
Which service does a command mean that names none? `service_client.py` (`service_url`).
"""
