"""`icmbench sweep` and `icmbench transfer`: selected rows side by side, as a figure and a table."""
