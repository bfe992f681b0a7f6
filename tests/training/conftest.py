from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """The published weights, from the user's cache folder or downloaded into it."""
    from napari_medsamq.errors import ModelError
    from training.checkpoints.published import lite_medsam_checkpoint

    try:
        return lite_medsam_checkpoint()
    except ModelError as error:
        pytest.skip(f"needs the published checkpoint (python -m training.checkpoint): {error}")
