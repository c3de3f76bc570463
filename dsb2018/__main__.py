"""`python -m dsb2018` is the command `dsb2018`."""

import sys

from dsb2018.commands.main import main

if __name__ == "__main__":  # not in processes that are started by this one
    sys.exit(main())
