"""`python -m atoll.app` is `atoll`."""

import sys

from atoll.app import main

sys.exit(main())
