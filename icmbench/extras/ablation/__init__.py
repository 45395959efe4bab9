"""`icmbench sweep` and `icmbench transfer`: chosen rows side by side, as a figure and a table."""
