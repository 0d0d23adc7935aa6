"""Counts, lengths, words and samples of rows that stream by, in bounded memory."""
