"""Registries: OCI distribution-spec and docker's registry API v2, over HTTP."""
