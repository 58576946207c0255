"""The transform."""

from wasnap.instrument.abi import TRANSFORM_VERSION, ProgramInfo, Site
from wasnap.instrument.continuation import Continuations
from wasnap.instrument.transform import Instrumented, instrument

__all__ = ["TRANSFORM_VERSION", "Continuations", "Instrumented", "ProgramInfo", "Site", "instrument"]
