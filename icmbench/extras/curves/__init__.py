"""Curves that were not computed here: published ones beside ours, and curves in files."""
