"""The command line: one module per command in `commands`, and the options that they share."""
