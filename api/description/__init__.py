"""The description at /openapi.json of bodies, parameters and answers; nothing here runs for a call."""
