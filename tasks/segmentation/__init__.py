"""Semantic segmentation. Quick to import, because reading results needs only its `tally`; the task is in `task`."""
