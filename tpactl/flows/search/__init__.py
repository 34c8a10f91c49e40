"""Search for the configuration of an adapter."""
