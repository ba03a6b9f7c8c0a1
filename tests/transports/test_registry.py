"""The modules that a transport loads."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("loaded", "kept_out"), [("http", "raw"), ("raw", "http")])
def test_a_gate_and_a_door_keep_the_other_kind_out_of_memory(loaded: str, kept_out: str) -> None:
    program = f"""
import sys
import backhaul.transports.doors.{loaded}
import backhaul.transports.gates.{loaded}
others = {{"doors.{kept_out}", "gates.{kept_out}", "control.{kept_out}_session"}}
print(others & {{name.removeprefix("backhaul.transports.") for name in sys.modules}})
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert done.stdout == b"set()\n"
