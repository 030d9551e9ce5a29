"""Teachers: trained once, gone on with after a stop, another one for other arguments."""

import pytest

from recipes.frame.teachers import train_teacher


class Teacher:
    """A recipe that writes the files of a run without training."""

    name, trainer = "lesson", {"max_epochs": 1}

    def __init__(self, epochs=1, stopped=False):
        self.origin, self.stopped, self.resumed = {"seed": 1000, "epochs": epochs}, stopped, []

    def run(self, save, record, resume):
        self.resumed.append(resume)
        for file in ("last.ckpt", "model.ckpt"):
            (save / file).write_text("half" if self.stopped else "whole")


def test_a_teacher_is_trained_once_and_never_half(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second, third = Teacher(stopped=True), Teacher(), Teacher()
    with pytest.raises(KeyboardInterrupt):
        train_teacher(first)
    path = train_teacher(second)
    assert first.resumed == [None] and second.resumed == [path.with_name("last.ckpt")]
    assert train_teacher(third) == path and third.resumed == [] and path.read_text() == "whole"
    assert train_teacher(Teacher(epochs=2)) != path
