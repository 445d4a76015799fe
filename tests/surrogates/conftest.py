"""The module that a user would write beside the configuration is found there."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
