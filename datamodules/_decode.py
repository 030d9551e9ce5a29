"""The decoder under the name that programs of bug reports import. The code is in `datamodules.frame.decode`."""

from datamodules.frame.decode import Unreadable, decode

__all__ = ["Unreadable", "decode"]
