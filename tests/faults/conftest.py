"""Real faults, on a real stack of their own: nothing may be lost or doubled, at any time.

Run by: make test-faults [KILLS=30] [SEED=1]
    scripts/env.sh scripts/test.sh --capture=no tests/faults

The tests watch the product's processes from outside, through the files that they write to HDFS.
They kill a process when a step becomes visible there (polled every 30 ms). The product has no hooks
for this.
"""

import pytest

pytest.register_assert_rewrite("faults_feeds", "faults_landings", "faults_reader")
