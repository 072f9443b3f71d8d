"""Every limit has its reason beside it, and what one side may say the other takes."""

import ast
import inspect
import itertools

from protocol import limits


def test_every_limit_has_its_reason_beside_it() -> None:
    body = ast.parse(inspect.getsource(limits)).body
    for statement, following in itertools.pairwise(body):
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
            reason = following.value if isinstance(following, ast.Expr) else None
            assert name == "VERSION" or (isinstance(reason, ast.Constant) and isinstance(reason.value, str)), name


def test_an_honest_turn_is_within_what_the_peer_takes() -> None:
    """Nodes of one turn, all of them leaves of 16 that meet 64 records each, all asked about and all answered."""
    asked = limits.NODES_PER_TURN * limits.COMPARED_MAX
    wanted = limits.NODES_PER_TURN * (8 + limits.LEAF_MAX)
    assert 8 * (asked + asked) + limits.STAMPS_PER_TURN + wanted <= limits.HEARD_PER_TURN_MAX
    assert limits.QUESTIONS_PER_FRAME * (16 + 1 + 3 * 255) < limits.BATCH_BYTES_AIM


def test_the_waiting_prefixes_of_two_huge_tries_are_within_the_backlog() -> None:
    """Depth first, each level leaves behind at most what one turn brought: 16 children for each node described."""
    levels = 7  # 16 records in a leaf, fanout 16: 100 million records
    assert levels * limits.NODES_PER_TURN * 16 < limits.BACKLOG_MAX
