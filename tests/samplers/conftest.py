"""The sources of samples that both families draw from."""

from tests.sources import cells as cells
from tests.sources import make_source as make_source
