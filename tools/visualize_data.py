"""`dsb2018 visualize`, from a checkout of the repository; --help shows the options."""

import sys

from dsb2018.commands.visualize import main

if __name__ == "__main__":
    sys.exit(main())
