"""The files that are written and read back: protocols, records, and the folder that holds them. No torch."""
