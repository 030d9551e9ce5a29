"""The list of versions that the site's bar offers."""

import versions


def test_main_comes_first_and_then_the_newest_release(tmp_path):
    for name in ("v0.9.0", "v0.10.0", "v0.10.0-rc1", "vision", "models"):
        (tmp_path / name).mkdir()
    found = versions.versions(tmp_path, "https://example.org/zoo")
    assert [(one["version"], one["url"]) for one in found] == [
        ("main", "https://example.org/zoo/"),
        ("v0.10.0", "https://example.org/zoo/v0.10.0/"),
        ("v0.9.0", "https://example.org/zoo/v0.9.0/"),
    ]


def test_no_release_yet(tmp_path):
    assert [one["version"] for one in versions.versions(tmp_path, "https://example.org")] == ["main"]
