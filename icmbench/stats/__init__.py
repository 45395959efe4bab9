"""Numbers in, numbers out: BD-rate, intervals, tallies. numpy and scipy only."""
