"""Curves that were not computed here: published curves, and curves in files."""
