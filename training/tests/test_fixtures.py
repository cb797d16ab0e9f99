"""The golden files of the tokenizer are what their generator writes."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from training.fixtures.golden import FIXTURES
from training.fixtures.tokenizer import write_cluster_fixtures, write_model_fixtures

COMMITTED = Path(__file__).parents[2] / FIXTURES


@pytest.mark.parametrize("write", [write_cluster_fixtures, write_model_fixtures])
def test_golden_files_are_what_is_computed_now(tmp_path, write):
    write(tmp_path)
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert files
    for file in files:
        expected, found = load_file(COMMITTED / file.relative_to(tmp_path)), load_file(file)
        assert found.keys() == expected.keys(), file.name
        for name, tensor in found.items():
            torch.testing.assert_close(tensor, expected[name], msg=lambda text, name=name: f"{name}: {text}")
