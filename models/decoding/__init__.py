"""Texts written by a language model: greedily, by sampling or by beam search, with keys and values kept."""

from models.decoding.decoding import Decoding
from models.decoding.generate import Generated, generate

__all__ = ["Decoding", "Generated", "generate"]
