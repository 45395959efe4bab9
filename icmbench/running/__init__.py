"""Computing many cells: the plan, the workers, the progress, and `icmbench run`."""
