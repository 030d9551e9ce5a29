"""Pictures of what tricks do, a file a kind; `Trick.picture` names it.

Nothing is drawn from a formula where the trick can act: a kind runs a fresh copy of the trick in a run of seconds,
and draws what came out.
"""
