"""What every test of diagnostics asks of them."""

import pytest
from located import WellFormed, check_form


@pytest.fixture(scope="session")
def well_formed() -> WellFormed:
    """A function that asserts of diagnostics what must hold of all of them."""
    return check_form
