"""The command line: parses, calls, shows; every decision is made elsewhere."""
