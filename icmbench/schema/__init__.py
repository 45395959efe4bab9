"""What is written to disk and read back: protocols, records, and the folder that holds them. No torch."""
