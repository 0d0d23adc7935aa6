import pytest

from pipeline.training.prefetch import prefetched


def test_batches_come_in_order_and_their_error_reaches_the_caller() -> None:
    class Numbers:
        def batch(self, step: int) -> int:
            if step == 7:
                raise OSError("shard is gone")
            return step * step

    with prefetched(Numbers(), 2, 6) as stream:
        assert list(stream) == [(2, 4), (3, 9), (4, 16), (5, 25)]
    with prefetched(Numbers(), 4, 4) as stream:
        assert list(stream) == []
    with prefetched(Numbers(), 5, 9) as stream:
        assert next(stream) == (5, 25)
        assert next(stream) == (6, 36)
        with pytest.raises(OSError, match="shard is gone"):
            next(stream)
