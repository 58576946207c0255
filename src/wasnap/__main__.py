"""``python -m wasnap``: the same as the command ``wasnap``."""

from wasnap.cli import main

main()
