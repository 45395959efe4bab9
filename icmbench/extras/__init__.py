"""What `run`, `table` and the leaderboard do not need. Extras do not import each other."""
