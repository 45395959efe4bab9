"""Object detection. Light to import, because results are read with its `tally` alone; the task is in `task`."""
