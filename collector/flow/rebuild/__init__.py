"""`telomere collector rebuild`: everything derived made anew, compared with what was there, put in place."""

from collector.flow.rebuild.compare import Difference
from collector.flow.rebuild.making import DRAFT, PROJECTION_NAME, Rebuilt, rebuild

__all__ = ["DRAFT", "PROJECTION_NAME", "Difference", "Rebuilt", "rebuild"]
