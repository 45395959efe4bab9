"""`icmbench power` and `icmbench converge`: the anchor against itself."""
