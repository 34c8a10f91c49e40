"""``python -m tpactl``: the same program as the ``tpactl`` command."""

from tpactl.cli.app import main

if __name__ == "__main__":
    main()
