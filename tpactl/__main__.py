"""The program: ``tpactl`` and ``python -m tpactl``.

Ctrl-C counts from the first import on; the commands take it over once they are there.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    try:
        from tpactl.cli.app import main as run
    except KeyboardInterrupt as error:
        raise SystemExit(130) from error
    run()


if __name__ == "__main__":
    main()
