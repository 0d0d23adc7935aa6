"""What watches a training: its figures and clock, loss spikes and bad numbers, validation, the log, and signals."""
