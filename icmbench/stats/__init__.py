"""What is made of measurements: BD-rate, confidence, resolving power. Nothing here needs torch."""
