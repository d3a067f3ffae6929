"""Django's PostgreSQL backend, which lets go of connections that are of no use any more."""
