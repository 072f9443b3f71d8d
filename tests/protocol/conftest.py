"""How Hypothesis searches here: the same examples on every run, so that a failure replays; `--hypothesis-profile=search`
looks further, at random."""

from hypothesis import settings

settings.register_profile("gate", deadline=None, derandomize=True, max_examples=60, print_blob=True)
settings.register_profile("search", deadline=None, max_examples=1_000, print_blob=True)
if settings.get_current_profile_name() in {"default", "ci"}:
    settings.load_profile("gate")
