"""The subcommands: each parses, calls a service, and prints."""
