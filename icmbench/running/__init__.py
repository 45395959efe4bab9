"""Computing many cells: which of them are missing, the workers, the progress."""
