"""Pure Keras 3 Transformers: layers, backbones, heads and objectives. Knows nothing of files, recipes or runs."""
