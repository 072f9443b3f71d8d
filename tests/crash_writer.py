"""Run by test_processes.py: writes batches for ever, and says after each commit that it is done. To be killed."""

import itertools
import sys

from replica.store.store import Store

path, run = sys.argv[1:3]
with Store(path) as store:
    for number in itertools.count():
        rows = [{"id": f"{run}-{number}-{n}", "name": str(n), "phone": "1"} for n in range(40)]
        if number % 3 == 2:
            store.execute("UPDATE contacts SET phone = ? WHERE id LIKE ?", [f"{number}", f"{run}-{number - 1}-%"])
        store.put_many("contacts", rows)
        print(number, flush=True)
