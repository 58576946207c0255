from typing import Any

Difference = Guest = Run = differential = None  # type: Any
