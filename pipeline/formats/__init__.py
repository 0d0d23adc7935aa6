"""The formats that a model is published in: each opens with its own runtime and answers packed rows alike."""
