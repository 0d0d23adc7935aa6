"""The training engine: exact accumulation, resume and progress, with what Keras lacks written once per backend."""
