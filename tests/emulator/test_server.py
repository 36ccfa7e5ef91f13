"""The emulator on a port: starting, stopping, large bodies, and life without its extra."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from subprocess import PIPE

import httpx2
import pytest

from convcache.emulator import Emulator, EmulatorServer

TALK = [{"role": "user", "content": "hello"}]


def test_it_starts_and_stops_within_a_moment():
    for _ in range(3):
        began = time.monotonic()
        with EmulatorServer(Emulator()) as server:
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+", server.url)
        assert time.monotonic() - began < 0.3


def test_it_stops_at_once_with_a_client_still_waiting(emulated):
    from datetime import timedelta

    server = EmulatorServer(emulated(first_token_delay=timedelta(hours=1)).emulator)
    server.start()
    failures = []

    def ask():
        try:
            httpx2.post(f"{server.url}/v1/messages", json=body(TALK), headers={"x-api-key": "k"}, timeout=20)
        except httpx2.TransportError as error:
            failures.append(error)

    client = threading.Thread(target=ask)
    client.start()
    while not server.emulator.requests:
        time.sleep(0.005)
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 1
    client.join(10)
    assert len(failures) == 1
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.url


def test_a_stopped_server_serves_again():
    server = EmulatorServer(Emulator())
    for _ in range(3):
        with server:
            answer = httpx2.post(
                f"{server.url}/v1/messages", json=body(TALK), headers={"x-api-key": "k"}, timeout=5
            )
        assert answer.status_code == 200
    assert len(server.emulator.requests) == 3


def test_a_running_server_is_not_started_twice():
    with EmulatorServer(Emulator()) as server:
        url = server.url
        with pytest.raises(RuntimeError, match="running already"):
            server.start()
        assert server.url == url


def test_its_port_is_taken_and_given_back():
    with EmulatorServer(Emulator()) as server:
        port = int(server.url.rsplit(":", 1)[1])
        with pytest.raises(OSError, match="in use"):
            EmulatorServer(Emulator(), port=port).start()
    with EmulatorServer(Emulator(), port=port) as server:
        assert server.url.endswith(str(port))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "example.org", ""])
def test_a_host_that_others_can_reach_is_refused_unless_meant(host):
    with pytest.raises(ValueError, match="allow_remote=True"):
        EmulatorServer(Emulator(), host)
    EmulatorServer(Emulator(), host, allow_remote=True)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2"])
def test_other_names_of_this_machine_are_fine(host):
    with EmulatorServer(Emulator(), host) as server:
        assert httpx2.get(f"{server.url}/_emulator/clock").status_code == 200


def body(messages, **more):
    return {"model": "claude-opus-4-8", "max_tokens": 10, "messages": messages, **more}


def test_a_prompt_of_a_hundred_thousand_tokens_is_served(emulated):
    api = emulated(count_tokens=None)
    words = [{"type": "text", "text": f"block {n} " + "word " * 80} for n in range(1000)]
    assert api.billed([{"role": "user", "content": words}], cache_control={"type": "ephemeral"})[1] > 100_000
    began = time.monotonic()
    assert api.billed([{"role": "user", "content": words}], cache_control={"type": "ephemeral"})[0] > 100_000
    assert time.monotonic() - began < 1


def test_a_body_beyond_the_limit_of_the_api_is_refused_and_the_server_lives(api):
    response = api.raw({"messages": [{"role": "user", "content": "x" * 50_000_000}]})
    assert (response.status_code, response.json()["error"]["type"]) == (413, "request_too_large")
    assert api.raw({"messages": TALK}).status_code == 200


def test_a_larger_limit_lets_a_larger_body_in(emulated):
    api = emulated(max_request_bytes=60_000_000, count_tokens=None)
    response = api.raw({"messages": [{"role": "user", "content": "x" * 40_000_000}]})
    assert response.json()["usage"]["input_tokens"] == 10_000_000


def test_a_client_that_leaves_in_the_middle_of_its_request_does_no_harm(api):
    host, port = api.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as half:
        half.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{")
    assert api.raw({"messages": TALK}).status_code == 200
    assert len(api.emulator.requests) == 1


def test_many_clients_at_once_get_their_own_answers(api):
    answers = {}

    def ask(number):
        with httpx2.Client(verify=False, timeout=20) as http:
            request = body([{"role": "user", "content": f"zebra {number}"}], max_tokens=200)
            response = http.post(f"{api.url}/v1/messages", json=request, headers={"x-api-key": "k"})
            answers[number] = response.json()["content"][0]["text"]

    threads = [threading.Thread(target=ask, args=[number]) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(f"“zebra {number}”" in answers[number] for number in range(16))


def test_serve_says_where_it_listens_and_stops_cleanly_when_told():
    command = [sys.executable, "-c", "from convcache.emulator import serve; serve()"]
    with ExitStack() as stack:
        processes = [stack.enter_context(subprocess.Popen(command, stdout=PIPE, stderr=PIPE)) for _ in "12"]
        for process, stop in zip(processes, (signal.SIGINT, signal.SIGTERM), strict=True):
            line = process.stdout.readline().decode()
            url = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+)\n", line)[1]
            answer = httpx2.post(f"{url}/v1/messages", json=body(TALK), headers={"x-api-key": "k"})
            assert answer.json()["role"] == "assistant"
            os.kill(process.pid, stop)
            rest, errors = process.communicate(timeout=10)
            assert (process.returncode, rest, errors) == (0, b"", b"")


def test_without_the_extra_it_can_be_imported_and_says_what_to_install():
    script = """
import sys
sys.modules["uvicorn"] = None
from convcache.emulator import Emulator, EmulatorTransport, serve
try:
    serve(Emulator())
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install 'convcache[emulator]'" in done.stdout


def test_the_emulator_shares_nothing_with_what_it_judges():
    """It imports no module of convcache outside itself, and of the SDK nothing but the types of requests."""
    from importlib.util import find_spec
    from pathlib import Path

    folder = Path(find_spec("convcache.emulator").origin).parent
    imports = [
        line
        for file in folder.rglob("*.py")
        for line in file.read_text().splitlines()
        if re.match(r"\s*(from|import) (anthropic|convcache)", line)
    ]
    assert imports
    others = [line for line in imports if "convcache.emulator" not in line]
    assert all(line.strip().startswith("from anthropic.types") for line in others)


def test_half_a_surrogate_pair_is_answered_with_valid_json(api):
    api.emulator.script({"content": "naïve 🙂 \ud83d half"}, {"content": "naïve 🙂 \ud83d half"})
    assert api.send("a").content[0].text == "naïve 🙂 \ud83d half"
    streamed = api.raw({"messages": TALK, "stream": True})
    assert "\\ud83d" in streamed.content.decode("utf-8")
