"""The page of settings says what the models say."""

import subprocess
import sys
from pathlib import Path

from moss.config import Settings, SwapSettings

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "configuration.md"


def made(*words: str) -> "subprocess.CompletedProcess[str]":
    script = ROOT / "scripts" / "configuration"
    return subprocess.run([sys.executable, str(script), *words], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_page_is_what_the_models_say() -> None:
    done = made("--check")
    assert done.returncode == 0, done.stderr


def test_each_table_of_the_settings_is_on_the_page_with_its_keys() -> None:
    page = PAGE.read_text()
    for name in Settings.model_fields:
        assert name == "root" or f"| `{name}` |" in page
    swap = page.partition("## `[swap]`")[2].partition("\n## ")[0]
    for name, field in SwapSettings.model_fields.items():
        assert f"| `{name}` |" in swap
        assert field.default is None or str(field.default).lower() in swap
