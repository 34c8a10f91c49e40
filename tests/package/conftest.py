import pytest
from package.builders import build_still_package, parts_of


@pytest.fixture(scope="session")
def still(tmp_path_factory):
    """A valid, evaluated package made without torch."""
    return build_still_package(tmp_path_factory.mktemp("still"))


@pytest.fixture(scope="session")
def good(still):
    """Its bytes."""
    return still.read_bytes()


@pytest.fixture
def parts(good):
    """Its parts, to be changed at will."""
    return parts_of(good)


@pytest.fixture
def as_file(tmp_path):
    """Write bytes to a file and return its path."""

    def write(content: bytes):
        path = tmp_path / "candidate.tpa"
        path.write_bytes(content)
        return path

    return write
