"""``python -m lae_cli`` is the ``lae`` command."""

from lae_cli.main import main

if __name__ == "__main__":
    main()
