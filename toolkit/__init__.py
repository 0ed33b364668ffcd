"""dockerc: turn a container image into one executable file."""
