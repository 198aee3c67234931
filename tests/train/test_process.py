"""The process that trains."""

from cnnspec.train import process


def test_memory_is_kept_but_for_who_says_otherwise(monkeypatch):
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
    given = process.environment()
    assert int(given["MALLOC_TRIM_THRESHOLD_"]) > 2**30
    assert given["MALLOC_MMAP_THRESHOLD_"] == "65536"
