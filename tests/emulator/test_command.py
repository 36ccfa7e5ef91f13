"""`convcache emulate` with trouble asked for on the command line."""

import subprocess
import sys
from datetime import timedelta

import attrs
import httpx2
import pytest
from click.testing import CliRunner

from convcache.emulator import Settings
from convcache.emulator.settings import settings_from
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
        (["--fault", "529"], "'--fault': not a fault"),
        (["--fault", '{"colour": "red"}'], "'--fault': not a fault"),
        (["--fault", "{"], "'--fault'"),
        (["--fault", '{"delay": 8e13}'], "'--fault': delay"),
        (["--fault", '{"delay": Infinity}'], "'--fault'"),
        (["--first-token-delay", "inf"], "'--first-token-delay'"),
        (["--first-token-delay", "nan"], "'--first-token-delay'"),
        (["--first-token-delay", "1e10"], "first_token_delay"),
        (["--clock-speed", "nan"], "'--clock-speed'"),
        (["--clock-speed", "inf"], "'--clock-speed'"),
        (["--clock-speed", "0"], "'--clock-speed'"),
        (["--miss-rate", "nan"], "'--miss-rate'"),
        (["--settings", "{"], "'--settings'"),
        (["--settings", "[]"], "'--settings'"),
        (["--settings", '{"colour": 1, "shape": 2}'], "colour, shape; there are platform, strict_strings"),
        (["--settings", '{"strict_strings": 1}'], "strict_strings must be true or false"),
        (["--settings", '{"seed": 1.5}'], "seed must be a whole number"),
        (["--settings", '{"minimum": true}'], "minimum must be a whole number"),
        (["--settings", '{"images": ["anywhere"]}'], "images must be a string"),
        (["--settings", '{"images": "nowhere"}'], "images"),
        (["--settings", '{"chunk_delay": "x"}'], "chunk_delay must be seconds"),
        (["--settings", '{"chunk_delay": 1e300}'], "chunk_delay must be seconds"),
        (["--settings", '{"batch_hit_rate": NaN}'], "batch_hit_rate"),
        (["--settings", '{"thread_unsupported": [1]}'], "thread_unsupported must be a list of strings"),
        (["--miss-rate", "2"], "miss-rate"),
        (["--chunk-delay", "-1"], "chunk-delay"),
        (["--input-tokens-per-minute", "0"], "input-tokens"),
    ],
)
def test_trouble_that_makes_no_sense_is_refused(option, said):
    done = CliRunner().invoke(emulate, option)
    assert (done.exit_code, said in done.stderr) == (2, True)


def test_every_setting_can_be_given_as_json():
    as_json = {
        field.name: field.default.total_seconds() if isinstance(field.default, timedelta) else field.default
        for field in attrs.fields(Settings)
    }
    as_json["thread_unsupported"] = list(as_json["thread_unsupported"])
    assert settings_from(as_json) == Settings()
    assert settings_from({"grace_after_expiry": 1.5}).grace_after_expiry == timedelta(seconds=1.5)


def test_settings_come_before_the_options_of_their_name():
    served = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convcache.emulator.serve", lambda emulator, **_: served.append(emulator.settings))
        options = ["--seed", "3", "--chunk-delay", "2", "--settings", '{"seed": 4, "strict_speed": true}']
        done = CliRunner().invoke(emulate, options)
    assert done.exit_code == 0, done.output
    assert served == [Settings(seed=4, strict_speed=True, chunk_delay=timedelta(seconds=2))]
