"""`convcache emulate` with trouble asked for on the command line."""

import subprocess
import sys

import httpx2
import pytest
from click.testing import CliRunner

from convcache.terminal.emulate import emulate

BODY = {"model": "claude-opus-4-8", "max_tokens": 9, "messages": [{"role": "user", "content": "word " * 400}]}


def test_trouble_is_asked_for_on_the_command_line():
    options = [
        "--virtual-clock",
        "--fault",
        '{"status": 529, "retry_after": 7}',
        "--fault",
        '{"status": 500}',
    ]
    limits = ["--input-tokens-per-minute", "700", "--miss-rate", "1", "--batch-delay", "0"]
    command = [sys.executable, "-m", "convcache", "emulate", *options, *limits]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        url = server.stdout.readline().split()[-1]
        with httpx2.Client(headers={"x-api-key": "k"}) as http:
            answers = [http.post(f"{url}/v1/messages", json=BODY) for _ in range(4)]
            rows = {"requests": [{"custom_id": "a", "params": BODY}]}
            batch = http.post(f"{url}/v1/messages/batches", json=rows).json()
            ended = http.get(f"{url}/v1/messages/batches/{batch['id']}").json()
        server.terminate()
        server.wait(10)
    assert [answer.status_code for answer in answers] == [529, 500, 200, 429]
    assert answers[0].headers["retry-after"] == "7"
    assert ended["processing_status"] == "ended"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--fault", "529"], "Cannot serve"),
        (["--fault", '{"colour": "red"}'], "not a fault"),
        (["--fault", "{"], "Cannot serve"),
        (["--miss-rate", "2"], "miss-rate"),
        (["--chunk-delay", "-1"], "chunk-delay"),
        (["--input-tokens-per-minute", "0"], "input-tokens"),
    ],
)
def test_trouble_that_makes_no_sense_is_refused(option, said):
    done = CliRunner().invoke(emulate, option)
    assert (done.exit_code, said in done.stderr) == (2, True)
