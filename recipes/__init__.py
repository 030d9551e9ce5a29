"""One Python file a claimed result. `recipes/digits_resnet20.py` is the first to read.

Nothing is imported here: the command line answers `zoo --help` from this package, before torch is loaded.
"""
