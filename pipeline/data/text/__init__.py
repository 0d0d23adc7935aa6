"""What `preprocess` does with texts: repair, redaction, filters, duplicates, overlap and splits.

Pure functions on Arrow arrays of at most a few ten thousand texts: the same input gives the same bytes in any process.
"""
