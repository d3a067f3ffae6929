"""Django's PostgreSQL backend with a fault point before and after each commit; in use where FAULT_POINTS is set."""
