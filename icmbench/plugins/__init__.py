"""From names to files: methods, tasks, protocols, tallies and weights, found without importing them."""
