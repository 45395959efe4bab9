"""Built-in methods: every module here without a leading underscore is a plugin."""
