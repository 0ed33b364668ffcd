"""What proves who talks to whom: logins, certificates, registries.conf."""
