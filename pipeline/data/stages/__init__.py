"""The stages of preprocessing: each works block by block, and a block's files are written whole or not at all."""
