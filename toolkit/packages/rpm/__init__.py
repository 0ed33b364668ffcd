"""RPM's database in its three forms, and the headers that all of them hold."""
