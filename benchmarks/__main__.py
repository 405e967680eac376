"""Run every benchmark, or those named: `python -m benchmarks [moments] [lengths] ...`.

The times of one run compare with each other, not with those of another run or machine.
"""

import sys

from benchmarks import jobs

names = sys.argv[1:] or list(jobs.ALL)
if unknown := set(names) - set(jobs.ALL):
    sys.exit(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(jobs.ALL)}")
for name in names:
    jobs.ALL[name]()
