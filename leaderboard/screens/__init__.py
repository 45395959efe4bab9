"""The pages of the app: each has a TITLE, an ICON and `show`."""
