"""One module for each place that an image can come from (containers-transports(5))."""
