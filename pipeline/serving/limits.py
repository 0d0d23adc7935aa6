"""How much a server takes on: the one place where all its bounds stand."""

from __future__ import annotations

from dataclasses import dataclass

from limits import RateLimitItem, parse

from pipeline.errors import TradewindError


@dataclass(frozen=True)
class Limits:
    """Bounds of requests and of what waits.

    Attributes:
        most_bytes: int. Of a request's body; more is answered 413.
        most_texts: int. Of a request; more is answered 422.
        longest_text: int. Characters; more is answered 422.
        max_batch: int. Texts that the model is asked at once, not less than `most_texts`.
        most_waiting: int. Texts that wait for the model; a request beyond it is answered 503.
        max_wait: float. Seconds until a request that the model has not answered is answered 503.
        body_seconds: float. For the whole body to arrive; a slower one is answered 408.
        head_seconds: float. For the request line and headers to arrive; a slower connection is closed.
        most_connections: int. Open at once; one more is answered 503.
        rate: RateLimitItem. Requests of one client; more are answered 429. None for any number.
    """

    most_bytes: int = 1_000_000
    most_texts: int = 64
    longest_text: int = 20_000
    max_batch: int = 64
    most_waiting: int = 1024
    max_wait: float = 10.0
    body_seconds: float = 10.0
    head_seconds: float = 10.0
    most_connections: int = 512
    rate: RateLimitItem | None = None

    def __post_init__(self) -> None:
        if self.most_texts > self.max_batch:
            raise TradewindError(
                f"--max-texts is {self.most_texts}, more than the {self.max_batch} texts of --max-batch; the texts "
                "of a request are answered together, so allow no more than a batch"
            )
        if self.max_batch > self.most_waiting:
            raise TradewindError(
                f"--queue is {self.most_waiting}, less than the {self.max_batch} texts of --max-batch; let at "
                "least one batch wait"
            )


def read_rate(text: str) -> RateLimitItem:
    """Return what `100/minute` or `5/second` means. Raises TradewindError: it means nothing."""
    try:
        return parse(text)
    except ValueError:
        raise TradewindError(
            f"--rate is {text!r}; expected a number of requests in a time, such as 5/second, 600/minute or 1000/hour"
        ) from None
