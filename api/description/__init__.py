"""What /openapi.json says of bodies, parameters and answers; nothing here runs for a call."""
