"""`python -m ssah_core ...`"""

import sys

from ssah_core.cli import main

sys.exit(main())
