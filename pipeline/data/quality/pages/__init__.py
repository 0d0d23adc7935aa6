"""Pages on the data that open without a network."""
