import sys
from pathlib import Path

# The package is run from the repository root, so that is where its tests look for it.
sys.path.insert(0, str(Path(__file__).parents[2]))
