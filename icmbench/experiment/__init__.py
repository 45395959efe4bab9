"""One cell, from the start codec to the record: train, code, recognise, record."""
