"""Ends of the program that have too little memory to start."""

from pathlib import Path

import pytest
from tests.support.net import HOST, free_port
from tests.support.program import TOKEN, Program

LIMITED = (
    "bash",
    "-c",
    'ulimit -v 46000; exec "$@"',
    "bash",
)  # KiB of addresses: more than Python, less than its modules
ENDS = {"server": "bind_addr", "client": "remote_addr"}


@pytest.mark.parametrize("end", ENDS)
async def test_a_start_without_memory_has_one_line(end: str, tmp_path: Path) -> None:
    file = tmp_path / f"{end}.toml"
    file.write_text(
        f'[{end}]\n{ENDS[end]} = "{HOST}:{free_port()}"\ntransport = "wsmux"\ntoken = "{TOKEN}"\nskip_optz = true\n'
    )
    program = await Program.start("-c", file, wrapper=LIMITED)
    assert await program.ended() == 1
    assert program.lines[-1].startswith("backhaul: out of memory or threads: an end takes ")
    assert "Traceback" not in program.text
