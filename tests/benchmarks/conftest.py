"""Small inputs, made here, for smoke runs of the benchmarks."""

import gzip
import json

import pytest


@pytest.fixture
def recorded(tmp_path):
    """Writes rows as the benchmarks read them."""

    def write(*rows):
        path = tmp_path / "rows.jsonl.gz"
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
        return str(path)

    return write
