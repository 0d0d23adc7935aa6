"""From sound rows to packed token shards: cleaning, deduplication, splits, tokenizer, packing."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, PositiveInt, field_validator, model_validator

from pipeline.config.section import Fraction, Section

Share = Annotated[float, Field(gt=0, lt=0.5)]


Personal = Literal["email", "phone", "ip_address", "credit_card", "iban", "us_ssn", "url"]
PERSONAL: tuple[str, ...] = get_args(Personal)


class Clean(Section):
    """Repairs of every text, in the corpus and in the tasks."""

    repair: bool = Field(
        True, description="undo encoding damage (`cafÃ©`), HTML entities, control and invisible characters"
    )
    redact: list[Personal] = Field(
        default_factory=list, description="personal data to replace by `<EMAIL>` and the like; default: none"
    )
    boilerplate: list[str] = Field(
        default_factory=list,
        description="regular expressions (RE2); a line in which one is found is removed from its text",
    )

    @field_validator("boilerplate")
    @classmethod
    def _expressions_compile(cls, patterns: list[str]) -> list[str]:
        if patterns:
            import pyarrow as pa
            import pyarrow.compute as pc
        for pattern in patterns:
            try:
                pc.match_substring_regex(pa.array([""]), pattern)
            except pa.ArrowInvalid as error:
                raise ValueError(
                    f"{pattern!r} is no regular expression of RE2 ({error}); expected one such as ^Page [0-9]+$, "
                    "without look-around or back references"
                ) from error
            if pc.match_substring_regex(pa.array([""]), pattern)[0].as_py():
                raise ValueError(f"{pattern!r} is found in every line, even an empty one; name what a line must have")
        return patterns


class Filters(Section):
    """Rules that drop a document from the pretraining corpus; null switches a rule off. No labelled row is dropped.

    Named after the rules of Gopher (arXiv 2112.11446) and C4 (arXiv 1910.10683).
    """

    min_words: PositiveInt | None = Field(None, description="fewest words")
    max_words: PositiveInt | None = Field(None, description="most words")
    max_mean_word_length: Annotated[float, Field(gt=0)] | None = Field(None, description="characters a word, at most")
    min_alphabetic_share: Fraction | None = Field(None, description="least share of words with a letter")
    max_symbol_share: Fraction | None = Field(None, description="most `#`, and most ellipses, a word")
    max_bullet_share: Fraction | None = Field(None, description="most lines that begin with a bullet")
    max_repeated_line_share: Fraction | None = Field(None, description="most lines that repeat another of the document")
    max_repeated_word_share: Fraction | None = Field(None, description="largest share of the commonest word")
    languages: list[str] | None = Field(
        None, description="keep these only, such as [en], and texts whose language is in doubt"
    )


class NearDuplicates(Section):
    """MinHash LSH over word n-grams (Broder 1997): alike texts form clusters, and the first is kept."""

    threshold: Annotated[float, Field(ge=0.5, lt=1.0)] = Field(0.8, description="Jaccard similarity of the n-grams")
    ngram: Annotated[int, Field(ge=1, le=20)] = Field(5, description="words in an n-gram; shorter texts are left alone")
    num_hashes: Annotated[int, Field(ge=16, le=512)] = Field(128, description="of a signature; more is more exact")


class Deduplicate(Section):
    """What is removed because it is there already, or because a task is judged on it."""

    near: NearDuplicates | None = Field(NearDuplicates(), description="null: only exact duplicates")
    evaluation_ngram: Annotated[int, Field(ge=5, le=50)] | None = Field(
        13,
        description="a pretraining document that shares so many words in a row with a task's validation or test text "
        "is removed; a shorter text, of 5 words or more, as a whole; null: only equal texts are",
    )


class Split(Section):
    """How rows are dealt into train, validation and test."""

    method: Literal["auto", "hash", "stratified", "time", "given"] = Field(
        "auto",
        description="hash: of the group, stable under additions; stratified: the same within each value of `column`; "
        "time: the latest rows by `column`; given: by `column`; auto: given where the source has `splits`, else hash",
    )
    column: str | None = Field(None, description="of the method stratified (a label), time (a date) or given (a split)")
    validation: Share = Field(0.1, description="share of the groups")
    test: Share = Field(0.1, description="share of the groups; judged once, at the end")
    salt: str = Field("tradewind", description="another salt deals another split")

    @model_validator(mode="after")
    def _column_fits(self) -> Split:
        if self.method in ("stratified", "time", "given") and self.column is None:
            raise ValueError(f"method {self.method} needs `column`")
        if self.method in ("auto", "hash") and self.column is not None:
            raise ValueError(f"method {self.method} uses no `column` ({self.column}); remove it, or set another method")
        return self


class Tokenizer(Section):
    """The subword tokenizer, trained on the training rows of the corpus, or given."""

    kind: Literal["bpe", "wordpiece", "unigram", "file", "start"] = Field(
        "bpe",
        description="bpe works on bytes and knows every character; file is a ready tokenizer.json; start, the default "
        "with pretrain.start_from, is the one of that backbone",
    )
    path: str | None = Field(None, description="of the kind file: a tokenizer.json")
    vocabulary_size: Annotated[int, Field(ge=300, le=1_000_000)] = Field(8192, description="most tokens it may have")
    lowercase: bool = Field(
        True,
        description="treat upper and lower case alike; default: true, false with a task of kind generation",
    )
    training_megabytes: PositiveInt = Field(100, description="text it is trained on at most, drawn by hash")

    @model_validator(mode="after")
    def _path_fits(self) -> Tokenizer:
        if (self.kind == "file") != (self.path is not None):
            raise ValueError(f"kind is {self.kind} and path is {self.path}; the kind file, and only it, needs a path")
        return self


class Preprocess(Section):
    """From sound rows to packed token shards."""

    clean: Clean = Clean()
    filters: Filters = Filters()
    deduplicate: Deduplicate = Deduplicate()
    split: Split = Split()
    tokenizer: Tokenizer = Tokenizer()
    sequence_length: Annotated[int, Field(ge=8, le=8192)] = Field(
        128, description="tokens in a packed row; longer documents are cut into several, longer examples truncated"
    )
    rows_per_shard: PositiveInt = Field(65_536, description="most packed rows in one file")
