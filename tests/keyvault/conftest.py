# SPDX-License-Identifier: Apache-2.0
import pathlib
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from client import Client  # noqa: E402
from vault import TestVault  # noqa: E402


@pytest.fixture(scope="session")
def running():
    """One vault for all cases of a run; `vault` makes it as new for each."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="cv-", dir="/tmp"))
    made = TestVault(folder).start()
    yield made
    made.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def vault(running):
    running.reset()
    return running


@pytest.fixture
def client(vault):
    return Client(vault)


@pytest.fixture
def orders(vault):
    return vault.add_certificate("orders", key_type="ec-p256")
