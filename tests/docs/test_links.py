"""The checker of the built site finds what leads nowhere and what is asked of other hosts, and nothing else."""

import links

GOOD = '<a href="b.html#part">b</a> <a href="https://example.org">far</a> <img src="p.png"> <a href="?q=x#top">up</a>'
PAGES = {"a.html": f'<p id="top">{GOOD}</p>', "b.html": '<h1 id="part">b</h1><a href="a.html">a</a>', "p.png": ""}


def site(folder, **changes):
    for name, text in (PAGES | {name.replace("_", "."): text for name, text in changes.items()}).items():
        (folder / name).write_text(text)
    return links.faults(folder.resolve())


def test_a_whole_site_has_no_faults(tmp_path):
    assert site(tmp_path) == []


def test_a_missing_anchor(tmp_path):
    assert site(tmp_path, b_html="<p></p>") == ["a.html: b.html#part leads nowhere"]


def test_a_missing_page_and_a_missing_picture(tmp_path):
    found = site(tmp_path, b_html='<h1 id="part"></h1><a href="c.html">c</a><img src="q.png">')
    assert sorted(found) == ["b.html: c.html leads nowhere", "b.html: q.png leads nowhere"]


def test_two_elements_of_one_name(tmp_path):
    found = site(tmp_path, b_html='<h1 id="part"></h1><p id="part"></p>')
    assert found == ["b.html: 2 elements are called part"]


def test_what_is_asked_of_another_host(tmp_path):
    text = '<h1 id="part"></h1><script src="//cdn.example.org/x.js"></script><link rel="stylesheet" href="https://e.org/c">'
    found = site(tmp_path, b_html=text)
    assert sorted(found) == ["b.html: loads //cdn.example.org/x.js", "b.html: loads https://e.org/c"]
