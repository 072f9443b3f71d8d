"""Where a conversation stands, and what may come there.

The table TRANSITIONS is the one in SPEC section 10.1; a test compares them.
"""

from __future__ import annotations

from enum import Enum

from protocol.messages import (
    Bye,
    Cells,
    End,
    Have,
    Hello,
    Listing,
    Message,
    More,
    Nodes,
    Pick,
    Probe,
    Records,
    Same,
    Want,
)


class State(Enum):
    """Where the conversation stands."""

    GREETING = "greeting"
    LISTENING = "listening"
    SPEAKING = "speaking"
    CLOSED = "closed"


TRANSITIONS: dict[State, frozenset[type[Message]]] = {
    State.GREETING: frozenset({Hello, Probe, Same, Bye}),
    State.LISTENING: frozenset({Cells, More, Listing, Pick, Nodes, Have, Want, Records, End, Bye}),
    State.SPEAKING: frozenset({Bye}),
    State.CLOSED: frozenset(),
}
"""Which message may come in which state. Everything else is Malformed. END turns LISTENING into SPEAKING, our own END
turns it back, HELLO and PROBE open, SAME and BYE close."""
