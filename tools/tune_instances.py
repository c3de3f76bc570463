"""`dsb2018 tune`, from a checkout of the repository; --help shows the options."""

import sys

from dsb2018.commands.tune_instances import main

if __name__ == "__main__":
    sys.exit(main())
