"""python -m stamp.cli"""

import sys

from .main import main

sys.exit(main())
