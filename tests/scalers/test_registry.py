"""Names of scalers, without scikit-learn until one of its is used."""

import subprocess
import sys

import modularml.scalers


def test_names_cost_no_import() -> None:
    code = (
        "import sys, modularml.scalers as s; list(s.supported_scalers); dir(s); "
        "assert not any(m.startswith(('sklearn', 'torch')) for m in sys.modules); "
        "s.StandardScaler; assert 'sklearn' in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_all_names_are_importable_and_listed() -> None:
    for name in modularml.scalers.supported_scalers:
        assert getattr(modularml.scalers, name).__name__ == name
        assert name in dir(modularml.scalers)
