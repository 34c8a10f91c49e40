"""Where the base that an adapter was trained on can be had, for whoever gave another one.

Reads the base's files where its name still leads to some; downloads nothing.
"""

from __future__ import annotations

import shlex

from tpactl.bases.identity import fingerprint
from tpactl.bases.load import STARTER, resolve
from tpactl.errors import TpactlError


def way_to_base(ref: str, digest: str) -> str:
    """Return the action that gives an adapter its own base, for the ``fix`` of an error.

    A name alone may mislead: the starter changes with the version of tpactl, a directory with
    whoever writes to it. So it is named only while the content behind it is the one wanted.

    Args:
        ref: how the base was called where the adapter was trained.
        digest: of the base's identity there.
    """
    try:
        here = fingerprint(resolve(ref, download=False)).digest
    except TpactlError:
        return (
            f"give the directory of the base {ref} as --base; "
            f"tpactl base fingerprint DIR must print {digest[:19]}"
        )
    if here == digest:
        return f"give the base it was trained on: --base {shlex.quote(ref)}"
    what = "the starter of this installation" if ref == STARTER else f"what {ref} is here"
    return (
        f"{what} is another one too ({here[:19]}): give a copy of the one with {digest[:19]} as "
        "--base, or train again"
    )
