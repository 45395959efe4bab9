"""The app's pages: each has a TITLE, an ICON and `show`."""
