"""The Tradewind pipeline: one module per step, the store that chains them, the command line."""
