"""The commands, one module each: `HELP`, `add_arguments(parser)`, `run(arguments) -> exit status`.

Heavy imports happen inside `run`, so help and lists appear at once.
"""
