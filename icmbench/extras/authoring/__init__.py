"""`icmbench new` and `icmbench check`: starting a plugin, and trying the contract that it must keep."""
