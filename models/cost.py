"""What a model costs before anything starts: parameters, floating-point operations, memory."""

from __future__ import annotations

from dataclasses import dataclass

from models.size import Dimensions

# Of the 14 arrays of the width that a block keeps, those that tensor parallelism cuts: fitted to compiled updates of
# decoders, encoders and encoder-decoders over two and four devices, where it puts the estimate as near as without it.
SPLIT_WIDTHS = 10


@dataclass(frozen=True)
class GroupHead:
    """What an encoder has in pretraining to tell groups of documents apart; without groups there is none.

    Its last block answers for every token, because each document is told by the mean of its states.

    Attributes:
        groups: int. How many are told apart.
        segments_per_token: float. Documents that are asked for, per token of a row.
    """

    groups: int = 0
    segments_per_token: float = 0.0

    def parameters(self, hidden_dim: int) -> int:
        """Return its weights."""
        return self.groups * (hidden_dim + 1)

    def answering(self, predictions_per_token: float) -> float:
        """Return at how many positions per token the last block answers."""
        return 1.0 if self.groups else predictions_per_token


NO_GROUPS = GroupHead()


@dataclass(frozen=True)
class Parameters:
    """Trainable parameters by part.

    Attributes:
        embedding: int. Token embedding, and the output projection where it is another matrix.
        attention: int. Projections of self- and cross-attention, with the norms of queries and keys.
        feedforward: int. Projections of the feed-forwards.
        norms: int. Scales of the other norms.
        head: int. What the pretraining model has beyond its backbone: a masked one, a layer before the projection, and
            what tells groups apart.
    """

    embedding: int
    attention: int
    feedforward: int
    norms: int
    head: int

    @property
    def backbone(self) -> int:
        """All but the head."""
        return self.embedding + self.attention + self.feedforward + self.norms

    @property
    def total(self) -> int:
        """All."""
        return self.backbone + self.head


def parameters(dimensions: Dimensions, vocabulary_size: int, groups: GroupHead = NO_GROUPS) -> Parameters:
    """Return the trainable parameters of the model that pretraining trains."""
    hidden, layers = dimensions.hidden_dim, dimensions.num_layers
    query_key_norms = 2 * dimensions.head_dim if dimensions.query_key_norm else 0
    attention = 2 * hidden * (hidden + key_value_dim(dimensions)) + query_key_norms
    paired = dimensions.architecture == "encoder_decoder"
    blocks = 2 * layers if paired else layers
    crossing = layers if paired else 0
    return Parameters(
        embedding=hidden * vocabulary_size * (1 if dimensions.tie_embeddings else 2),
        attention=(blocks + crossing) * attention,
        feedforward=blocks * feedforward_kernels(dimensions) * hidden * dimensions.feedforward_dim,
        # Two in every block and one before cross-attention; one after the embedding, and one after every stack.
        norms=hidden * (2 * blocks + crossing + (3 if paired else 2)),
        head=hidden * hidden + hidden + groups.parameters(hidden) if dimensions.architecture == "encoder" else 0,
    )


def flops_per_token(
    dimensions: Dimensions,
    vocabulary_size: int,
    sequence_length: int,
    predictions_per_token: float = 1.0,
    groups: GroupHead = NO_GROUPS,
) -> float:
    """Return the floating-point operations of training per input token: those of its matrix products.

    A product of (m, k) and (k, n) takes 2 m k n, and training takes three times the forward pass, as backward makes two
    products of every one. With width h, key and value width g, feed-forward kernels 3 h f (2 h f when plain), rows of s
    tokens, vocabulary V and p predictions per token, the forward pass takes

        encoder   (L-1 + p) (4 h h + 4 h s + 6 h f) + 4 L h g + 2 p (h h + h V)
        decoder   L (4 h h + 4 h s + 6 h f + 4 h g) + 2 h V

    where the last block of an encoder asks, projects and feeds forward at the predicted positions only; one that tells
    G groups apart, of d documents per token, does so everywhere, and takes 2 d h (s + G) more. Attention is counted in
    full also where no token looks ahead. So it is the numerator of model FLOPs utilization as PaLM defines it
    (Chowdhery 2022, arXiv 2204.02311, appendix B: 6 N + 12 L H Q T, with N the parameters in matrix products), less
    what is never computed here. Rematerialised products would not count.

    Args:
        dimensions: Dimensions. Of the model.
        vocabulary_size: int. Width of the last projection.
        sequence_length: int. Tokens in a row; of an encoder-decoder, in the encoder's row.
        predictions_per_token: float. Of an encoder, predicted positions per token; of an encoder-decoder, tokens in the
            decoder's row per token in the encoder's; a decoder predicts everywhere.
        groups: GroupHead. What else an encoder tells.
    """
    hidden, layers = dimensions.hidden_dim, dimensions.num_layers
    query_output = 4 * hidden * hidden
    key_value = 4 * hidden * key_value_dim(dimensions)
    feedforward = 2 * feedforward_kernels(dimensions) * hidden * dimensions.feedforward_dim
    projection = 2 * hidden * vocabulary_size

    def asking(keys: float) -> float:
        """One position of self-attention and feed-forward, without the keys and values it looks at."""
        return query_output + 4 * hidden * keys + feedforward

    predictions = 1.0 if dimensions.architecture == "decoder" else predictions_per_token
    forward = predictions * projection + layers * key_value
    match dimensions.architecture:
        case "encoder":
            forward += (layers - 1 + groups.answering(predictions)) * asking(sequence_length)
            forward += predictions * 2 * hidden * hidden
            # A document's mean takes a product over the whole row.
            forward += groups.segments_per_token * 2 * hidden * (sequence_length + groups.groups)
        case "decoder":
            forward += layers * asking(sequence_length)
        case _:
            crossing = query_output + 4 * hidden * sequence_length
            decoder = asking(predictions * sequence_length) + key_value + crossing
            forward += layers * (asking(sequence_length) + key_value + predictions * decoder)
    return 3 * forward


def key_value_dim(dimensions: Dimensions) -> int:
    """Return the width of all keys, or of all values."""
    return dimensions.num_key_value_heads * dimensions.head_dim


def feedforward_kernels(dimensions: Dimensions) -> int:
    """Return how many kernels of width times inner width a feed-forward has."""
    return 3 if dimensions.feedforward == "geglu" else 2


def optimizer_slots(dimensions: Dimensions, vocabulary_size: int, optimizer: str, groups: GroupHead = NO_GROUPS) -> int:
    """Return how many numbers the optimizer keeps; Muon one for a kernel of a block, and AdamW's two for all else."""
    counted = parameters(dimensions, vocabulary_size, groups)
    match optimizer:
        case "sgd" | "lion":
            return counted.total
        case "adam" | "adamw":
            return 2 * counted.total
        case "muon":
            return 2 * counted.total - block_kernels(dimensions)
        case _:
            raise ValueError(f"optimizer is {optimizer!r}; it must be one of adamw, adam, sgd, lion, muon")


def block_kernels(dimensions: Dimensions) -> int:
    """Return the parameters in the 2-D kernels of the blocks."""
    counted = parameters(dimensions, 0)
    paired = dimensions.architecture == "encoder_decoder"
    attentions = dimensions.num_layers * (3 if paired else 1)
    norms = attentions * (2 * dimensions.head_dim if dimensions.query_key_norm else 0)
    return counted.attention - norms + counted.feedforward


def kept_values(
    dimensions: Dimensions,
    vocabulary_size: int,
    sequence_length: int,
    predictions_per_token: float,
    score_copies: int,
    parts: int = 1,
    vocabulary_parts: int = 1,
    groups: GroupHead = NO_GROUPS,
) -> float:
    """Return how many numbers are kept for the backward pass per input token; the larger part of a training's memory.

    The numbers of arrays were fitted to `memory_analysis` of the programs that XLA makes for a CPU: 22 shapes within
    6 %, of encoders and decoders, in float32 and in bfloat16, which costs the same there. Per position and block they
    are 14 of the width, 4 of keys and values, 2 of each inner width of the feed-forward and 3 of the attention scores;
    then 10 of the width per embedded token and 2 of the vocabulary per predicted one; of groups, 2 of them per document
    and 1 of the row's length.

    Args:
        dimensions: Dimensions. Of the model.
        vocabulary_size: int. Width of the last projection.
        sequence_length: int. Tokens in a row.
        predictions_per_token: float. As in `flops_per_token`.
        score_copies: int. Arrays of attention scores.
        parts: int. Devices among which heads and inner widths are dealt, and `SPLIT_WIDTHS` of the arrays of the width.
        vocabulary_parts: int. Devices among which the logits are dealt.
        groups: GroupHead. What else an encoder tells.
    """
    hidden, layers = dimensions.hidden_dim, dimensions.num_layers
    inner = 2 * feedforward_kernels(dimensions) * dimensions.feedforward_dim / parts
    key_value = 4 * key_value_dim(dimensions) / parts
    scores = score_copies * dimensions.num_heads / parts
    widths = 14 - SPLIT_WIDTHS + SPLIT_WIDTHS / parts

    def asking(keys: float) -> float:
        return widths * hidden + inner + scores * keys

    predictions = 1.0 if dimensions.architecture == "decoder" else predictions_per_token
    values = 10 * hidden + layers * key_value + predictions * 2 * vocabulary_size / vocabulary_parts
    match dimensions.architecture:
        case "encoder":
            told = groups.segments_per_token * (2 * groups.groups + sequence_length)
            return values + told + (layers - 1 + groups.answering(predictions)) * asking(sequence_length)
        case "decoder":
            return values + layers * asking(sequence_length)
        case _:
            crossing = widths * hidden + scores * sequence_length
            decoder = asking(predictions * sequence_length) + key_value + crossing
            return (
                values
                + predictions * 10 * hidden
                + layers * (asking(sequence_length) + key_value + predictions * decoder)
            )
