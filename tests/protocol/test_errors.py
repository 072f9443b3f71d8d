"""Errors say whose fault they are, in one tree and with one word each."""

import re

import pytest

from protocol import errors
from protocol.errors import OurFault, PeerFault, PeerRefused, ReplicaError

CLASSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ReplicaError)]


def tree(kind: type[ReplicaError], indent: str = "") -> list[str]:
    """The classes below one, drawn as the module's header draws them."""
    lines: list[str] = []
    children = [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    for child in children:
        last = child is children[-1]
        lines.append(f"{indent}{'└── ' if last else '├── '}{child.__name__}")
        lines += tree(child, indent + ("    " if last else "│   "))
    return lines


def test_the_tree_in_the_header_is_the_tree() -> None:
    assert re.findall(r"^    (\W*── \w+)", errors.__doc__ or "", re.MULTILINE) == tree(ReplicaError)


def test_every_error_is_somebodys_fault_and_never_both() -> None:
    for kind in CLASSES:
        if kind not in {ReplicaError, OurFault, PeerFault}:
            assert issubclass(kind, OurFault) != issubclass(kind, PeerFault)


def test_each_error_has_its_own_word_for_bye() -> None:
    codes = {kind: kind.code for kind in CLASSES if kind is not PeerRefused}
    assert codes == {
        errors.ReplicaError: "error",
        errors.OurFault: "local",
        errors.ValueRefused: "value",
        errors.PeerFault: "peer",
        errors.Malformed: "malformed",
        errors.LimitExceeded: "limit",
        errors.NotMember: "not-member",
        errors.WrongVersion: "version",
        errors.Busy: "busy",
        errors.DifferentRows: "different-rows",
    }
    assert len(set(codes.values())) == len(codes)


def test_a_refusal_by_the_peer_is_told_in_the_peers_own_words() -> None:
    with pytest.raises(PeerFault, match=r"^the peer ended the session \(busy\): we are syncing already$") as caught:
        raise PeerRefused("busy", "we are syncing already")
    assert isinstance(caught.value, PeerRefused)
    assert caught.value.code == "busy"
