"""`dsb2018 prepare`, from a checkout of the repository; --help shows the options."""

import sys

from dsb2018.commands.prepare import main

if __name__ == "__main__":
    sys.exit(main())
