"""bitsandbytes comes without torch's compiler, unless something of it may be computed with."""

import os
import subprocess
import sys

import pytest
from repository import ROOT

pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed here")


@pytest.mark.parametrize(
    ("setting", "compiles"),
    [("peft=lora", False), ("peft=qlora", True)],
)
def test_compiler_is_loaded_where_bitsandbytes_may_be_used(tmp_path, setting, compiles):
    code = (
        "import atexit, os, runpy, sys\n"
        "names = ('bitsandbytes', 'torch._inductor.compile_fx')\n"
        "found = lambda: [name in sys.modules for name in names]\n"
        "atexit.register(lambda: print('FOUND', *found(), 'TORCHDYNAMO_DISABLE' in os.environ))\n"
        f"sys.argv = ['launch.py', 'plan=true', {setting!r}, 'hydra.run.dir={tmp_path}/run']\n"
        "runpy.run_path('launch.py', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        # The session's other tests do without the compiler (tests/conftest.py).
        env={key: value for key, value in os.environ.items() if key != "TORCHDYNAMO_DISABLE"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == f"FOUND True {compiles} False", done.stderr
