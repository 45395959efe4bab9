"""Built-in tasks: every module or folder here without a leading underscore is a plugin."""
