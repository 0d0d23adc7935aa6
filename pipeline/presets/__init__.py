"""KerasHub presets as backbones: found, fetched, their tokenizers converted and proven, and loaded."""
