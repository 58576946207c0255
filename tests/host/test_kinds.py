"""Kinds of descriptors are found by what a snapshot calls them, and imported only then."""

from __future__ import annotations

import msgspec
import pytest

from wasnap.errors import CannotResume
from wasnap.host import Host, HostConfig, HostState, kinds
from wasnap.host.descriptors import Descriptor


@pytest.mark.parametrize("tag", kinds._KINDS)
def test_each_kind_is_called_as_its_state_is(tag: str) -> None:
    file, state, kind = kinds._KINDS[tag]
    found = getattr(kinds._file(file), state)
    assert found.__struct_config__.tag == tag
    assert not kind or issubclass(getattr(kinds._file(file), kind), Descriptor)


@pytest.mark.parametrize("descriptor", [{"type": "telepathy"}, {}, 7, {"type": "stream"}])
def test_a_descriptor_that_is_none_is_refused(descriptor: object) -> None:
    host = Host(HostConfig(stdin=None, stdout=None, stderr=None))
    plain = host.capture().to_plain() | {"descriptors": [descriptor]}
    with pytest.raises(CannotResume, match="the host's state is not as it should be"):
        HostState.from_plain(msgspec.msgpack.decode(msgspec.msgpack.encode(plain)))
    host.close()
