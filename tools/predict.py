"""`dsb2018 predict`, from a checkout of the repository; --help shows the options."""

import sys

from dsb2018.commands.predict import main

if __name__ == "__main__":
    sys.exit(main())
