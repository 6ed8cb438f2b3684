"""The six figures that the service is measured by, on this machine: `make proof`."""
