"""Measure the desk against its targets, on real servers and with real workers: `make bench`, or `python -m bench`."""
