# SPDX-License-Identifier: Apache-2.0
"""Allocations that fail under the provider, one after the other (alloc-provider.c), as in test_allocations.py."""

from allocations import ALL, Page
from conftest import BUILD, SANITIZED

WALK = BUILD / "tests/integration/alloc-provider"
N_OPERATIONS = 16


def test_provider(fake):
    """A program gets an error or what it asked for, and goes on."""
    page = Page(fake.surroundings)
    stride = "1" if ALL else "40" if SANITIZED else "20"
    done = fake.run(WALK, fake.folder, stride, timeout=600 if ALL else 60,
                    environment=fake.environment(**page.environment(fake.surroundings)))
    print(done.stdout)
    assert done.stdout.count(" 0 wrong") == 2 * N_OPERATIONS, done.stdout
