"""A table of n rows holds exactly n, for any n, any keys, and after any history of deletes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipckit.errors import TableFull
from ipckit.table import Int, Table

# (Keys of one bucket cannot be chosen from here: the seed is the segment's. tests/c has them.)
SHAPES = {
    "numbers": lambda i, salt: f"{i}",
    "common head": lambda i, salt: f"{'x' * 24}{salt}{i:07}",
    "common tail": lambda i, salt: f"{i:07}{salt}{'x' * 24}",
    "bytes": lambda i, salt: (i * 0x9E3779B97F4A7C15 + salt & (2**64 - 1)).to_bytes(8, "big"),
    "sparse": lambda i, salt: (1 << (i % 256) | i << 256 | salt << 288).to_bytes(41, "little"),
}
sizes = st.integers(1, 17).flatmap(lambda bits: st.integers(1, min(2**bits, 100_000)))


@settings(max_examples=30)
@given(
    size=sizes,
    shape=st.sampled_from(sorted(SHAPES)),
    salt=st.integers(0, 2**30),
    gone=st.lists(st.floats(0, 1), max_size=4),
)
def test_t1_exactly_n_rows_fit_whatever_the_keys_and_the_history(size, shape, salt, gone):
    """T1: fill, delete a share, fill again with other keys: n fit each time, and no more."""
    key, first = SHAPES[shape], 0
    with Table(size, columns={"n": Int(8)}, key_size=48) as table:
        there = []
        for share in [*gone, None]:
            while len(there) < size:
                table.set(key(first, salt), {"n": first})
                there.append(first)
                first += 1
            for over in ("one", "more"):
                with pytest.raises(TableFull):
                    table.set(over, {"n": 0})
            assert len(table) == size
            if share is None:
                break
            kept = round(size * (1 - share))
            for number in there[kept:]:
                assert table.delete(key(number, salt))
            there = there[:kept]
        assert sorted(row["n"] for row in table.values()) == sorted(there)
        if size <= 5000:
            assert table.verify() == []


def test_t1_a_million_deletes_and_inserts_at_the_limit():
    """T1: no history wears the table out."""
    with Table(1000, columns={"n": Int(8)}) as table:
        for number in range(1000):
            table.set(str(number), {"n": number})
        for number in range(1000, 1_001_000):
            assert table.delete(str(number - 1000))
            table.set(str(number), {"n": number})
        with pytest.raises(TableFull):
            table.set("one more", {})
        assert sorted(row["n"] for row in table.values()) == list(range(1_000_000, 1_001_000))
        assert table.verify() == []
