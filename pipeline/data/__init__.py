"""From outside data to rows, tokens and splits: what `validate` and `preprocess` are made of."""
