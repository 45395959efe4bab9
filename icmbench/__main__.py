"""`python -m icmbench`."""

import sys

from icmbench.cli.main import main

sys.exit(main())
