"""From texts to packed token rows on disk: tokenizer, encoding, packing, shards."""
