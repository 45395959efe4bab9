"""Panoptic quality as a third party would add it: a task whose metric brings a tally of its own."""
