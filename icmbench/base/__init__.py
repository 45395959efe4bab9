"""Errors, files, seeds and the cache: what every other package may use. No domain, no torch."""
