"""The command line: one module a command in `commands`, and the options that they share."""
