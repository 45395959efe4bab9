"""From records to rows: which records may be compared, BD-rates with intervals, ranks. No torch."""
