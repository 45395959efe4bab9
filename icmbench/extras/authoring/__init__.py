"""`icmbench new` and `icmbench check`: start a plugin, and test its contract."""
