"""`python -m mcrelay` is `mcrelay`."""

import sys

from mcrelay.cli import main

sys.exit(main())
