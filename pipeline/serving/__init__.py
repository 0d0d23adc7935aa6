"""A published model behind HTTP: `tradewind serve`."""
