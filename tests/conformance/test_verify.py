"""`convcache verify`: the table held against an endpoint, what it may cost, and the report it leaves."""

import json
import re
from datetime import timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from click.testing import CliRunner, Result

from convcache.conformance import RULES
from convcache.emulator import Emulator, EmulatorServer, Settings, SystemClock, VirtualClock
from convcache.emulator.errors import ApiError
from convcache.terminal import cli
from convcache.terminal.spending import Budget, dollars

KEY = "sk-ant-api03-nobody-may-see-this"
NO_KEYS = dict.fromkeys(("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"))


def verify(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(
        cli, ["verify", *arguments], env={**NO_KEYS, **environment}, prog_name="convcache"
    )


def report(*arguments: str, **environment: str) -> dict:
    return json.loads(verify(*arguments, "--json", **environment).stdout)


def verdicts(*arguments: str, **environment: str) -> dict[str, str]:
    return {rule["id"]: rule["verdict"] for rule in report(*arguments, **environment)["rules"]}


@pytest.fixture(scope="module")
def whole() -> dict:
    """The whole table on the emulator inside the process."""
    return report()


def test_without_a_key_the_whole_table_is_held_against_the_emulator_inside(whole):
    assert whole["endpoint"].startswith("emulator, virtual clock at http://127.0.0.1:")
    assert [rule["id"] for rule in whole["rules"]] == [rule.id for rule in RULES if rule.of_endpoint]
    assert {rule["id"]: rule["observed"] for rule in whole["rules"] if rule["verdict"] != "agree"} == {}
    assert re.fullmatch(r"convcache \S+, anthropic \S+, Python \S+", whole["versions"])


def test_the_whole_table_costs_less_than_the_default_limit(whole):
    assert 0 < Decimal(whole["spent"]) < Decimal("0.5")
    assert Decimal(whole["spent"]) == sum(Decimal(rule["cost"]) for rule in whole["rules"])


def test_the_text_names_endpoint_date_versions_model_and_each_rule():
    done = verify("--only", "T13,U4")

    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "convcache verify: 2 agree, 0 differ, 0 unknown, 0 not run"
    assert [line.split()[0] for line in lines[1:6]] == ["endpoint", "date", "versions", "model", "spent"]
    assert [line.split()[:2] for line in lines[7:9]] == [["agree", "T13"], ["agree", "U4"]]
    assert lines[9].strip() == "-> the two forms: are equal"


def test_a_rule_with_rows_is_chosen_as_a_whole_or_by_row():
    assert set(verdicts("--only", "t34")) == {"T34.keeps", "T34.strips"}
    assert verdicts("--only", "T32.images") == {"T32.images": "agree"}


def test_an_endpoint_that_differs_ends_with_one(reached):
    url = str(reached(strict_strings=True).client.base_url)
    done = verify("--base-url", url, "--api-key", KEY, "--only", "T5,T3")

    assert done.exit_code == 1
    assert done.stdout.startswith("convcache verify: 1 agree, 1 differ")
    assert "-> read as a list of blocks: 0, not " in done.stdout


def test_the_key_is_never_shown(reached, tmp_path):
    url = str(reached().client.base_url)
    for how in (["--json"], ["--dry-run"], ["--only", "T1,T13"]):
        path = tmp_path / "report.txt"
        done = verify("--base-url", url, "--api-key", KEY, "--only", "T1", "--report", str(path), *how)
        assert done.exit_code == 0
        assert KEY not in done.output + path.read_text()
    refused = verify("--base-url", "http://127.0.0.1:9", "--api-key", KEY)
    assert refused.exit_code == 2
    assert KEY not in refused.output


def test_credentials_in_the_address_are_not_shown(reached):
    address = str(reached().client.base_url).replace("http://", "http://user:secret@")
    done = verify("--base-url", address, "--api-key", KEY, "--only", "T13")

    assert "secret" not in done.output


def test_the_limit_is_never_exceeded_and_the_rest_is_not_run():
    found = report("--max-cost", "0.01")
    not_run = [rule for rule in found["rules"] if rule["verdict"] == "not run"]

    assert 0 < Decimal(found["spent"]) <= Decimal("0.01")
    assert not_run
    assert {rule["observed"] for rule in not_run} == {"the next request could cost more than is left"}
    assert {rule["verdict"] for rule in found["rules"] if not rule["requests"]} >= {"not run"}


def test_a_budget_books_what_was_billed_and_gives_no_more():
    budget = Budget(Decimal("0.01"))
    usage = {"input_tokens": 1_000, "output_tokens": 0, "cache_creation_input_tokens": 4_000}
    assert budget.allows("claude-haiku-4-5", prompt=4_000, output=10, searches=0)
    budget.book("claude-haiku-4-5", usage)

    assert budget.spent == dollars("claude-haiku-4-5", usage) == Decimal("0.006")
    assert not budget.allows("claude-haiku-4-5", prompt=4_000, output=10, searches=0)
    assert not budget.allows("claude-unheard-of", prompt=1, output=1, searches=0)


def test_a_web_search_is_paid_for():
    usage = {"input_tokens": 0, "output_tokens": 0, "server_tool_use": {"web_search_requests": 3}}

    assert dollars("claude-haiku-4-5", usage) == Decimal("0.03")
    assert not Budget(Decimal("0.02")).allows("claude-haiku-4-5", prompt=0, output=0, searches=1)


def test_a_dry_run_says_what_would_be_sent_and_sends_nothing():
    emulator = Emulator(clock=VirtualClock())
    with EmulatorServer(emulator) as server:
        done = verify("--base-url", server.url, "--api-key", KEY, "--dry-run", "--only", "T18,T25")

    assert done.exit_code == 0
    assert emulator.requests == []
    assert "Nothing was sent" in done.stdout
    assert re.search(r"4 requests to claude-haiku-5-5: [\d,]+ tokens written", done.stdout)
    assert "over 19m 06s unless the clock is virtual" in done.stdout
    assert report("--dry-run", "--only", "T18")["rules"][0]["requests"] == 4


def test_a_dry_run_estimates_what_is_then_spent():
    chosen = "T1,T18,T28,T30,T34"
    assert report("--dry-run", "--only", chosen)["spent"] == report("--only", chosen)["spent"]


def test_where_time_is_real_what_waits_is_not_run_unless_asked_for():
    with EmulatorServer(Emulator(clock=SystemClock())) as server:
        found = report("--base-url", server.url, "--api-key", KEY, "--only", "T25,T3")

    assert found["endpoint"].startswith("emulator, real clock")
    told = {rule["id"]: (rule["verdict"], rule["observed"]) for rule in found["rules"]}
    assert told["T3"][0] == "agree"
    assert told["T25"] == ("not run", "waits 19 real minutes; --slow allows them")


def test_slow_waits_in_real_time():
    """On what is not known to be an emulator; the seconds are let pass on its clock."""
    slept: list[float] = []
    clock = VirtualClock()
    with EmulatorServer(Emulator(clock=clock)) as server, pytest.MonkeyPatch.context() as patch:

        def sleep(seconds: float, tell: object) -> None:
            slept.append(seconds)
            clock.advance(timedelta(seconds=seconds))

        patch.setattr("convcache.terminal.verify._sleep", sleep)
        patch.setattr("convcache.conformance.endpoint._clock", lambda http, url: None)
        found = verdicts("--base-url", server.url, "--api-key", KEY, "--slow", "--only", "T40,U21")

    assert found == {"T40": "agree", "U21": "agree"}
    assert sum(slept) > 600


def test_an_interrupted_verification_still_reports_what_it_saw():
    def give_up(seconds: float, tell: object) -> None:
        raise KeyboardInterrupt

    with EmulatorServer(Emulator(clock=VirtualClock())) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr("convcache.terminal.verify._sleep", give_up)
        patch.setattr("convcache.conformance.endpoint._clock", lambda http, url: None)
        done = verify("--base-url", server.url, "--api-key", KEY, "--slow", "--json", "--only", "T13,T40")

    told = {rule["id"]: (rule["verdict"], rule["observed"]) for rule in json.loads(done.stdout)["rules"]}
    assert told["T13"][0] == "agree"
    assert told["T40"] == ("not run", "interrupted")
    assert done.exit_code == 130


@pytest.mark.parametrize(
    ("name", "starts"), [("report.json", "{"), ("report.txt", "convcache verify: 1 agree")]
)
def test_the_report_is_written_to_a_file_in_the_form_of_its_name(tmp_path, name, starts):
    path = tmp_path / name
    done = verify("--only", "T13", "--report", str(path))

    assert done.exit_code == 0
    assert path.read_text().startswith(starts)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "T99"], "no rule 'T99'"),
        (["--only", "T45"], "about convcache itself"),
        (["--max-cost", "0"], "not a positive amount"),
        (["--max-cost", "much"], "not an amount of dollars"),
        (["--max-cost", "nan"], "not a positive amount"),
        (["--model", "claude-unheard-of"], "claude-unheard-of"),
        (["--only", "T13", "--report", "/nowhere/at/all.txt"], "Cannot write /nowhere/at/all.txt"),
        (["--base-url", "http://127.0.0.1:9", "--api-key", "made-up"], "Cannot verify http://127.0.0.1:9"),
        (["--base-url", "nonsense", "--api-key", "made-up"], "starts with http://"),
        (["--base-url", "ftp://host", "--api-key", "made-up"], "starts with http://"),
        (["--base-url", "http://[", "--api-key", "made-up"], "is not a URL"),
        (["--base-url", "http://host:99999", "--api-key", "made-up"], "is not a URL"),
    ],
)
def test_what_cannot_be_done_ends_with_two_and_says_why(arguments, said):
    done = verify(*arguments)

    assert done.exit_code == 2, done.output
    assert said in done.stderr


def test_a_refused_key_ends_with_two_before_anything_is_asked(reached):
    """Whoever is not let in learns nothing about the cache."""
    emulator = Emulator(clock=VirtualClock())
    with EmulatorServer(emulator) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr("convcache.emulator.engine.Emulator._admit", lambda self, request: _not_let_in())
        done = verify("--base-url", server.url, "--api-key", KEY)

    assert done.exit_code == 2
    assert len(emulator.requests) == 1


def _not_let_in() -> None:
    raise ApiError("invalid x-api-key", status=401)


def test_progress_is_for_terminals_only():
    assert verify("--only", "T13").stderr == ""


@pytest.fixture
def answering():
    """Starts a server that counts tokens with one text and answers everything else with another; its URL."""
    servers = []

    def start(counted: str, answer: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                text = (counted if self.path.endswith("count_tokens") else answer).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "answer",
    [
        "[]",
        "null",
        "7",
        "{}",
        '{"usage": "much"}',
        '{"usage": {"input_tokens": "x"}}',
        '{"usage": {}}',
        '{"usage": {"input_tokens": 1, "server_tool_use": "x"}}',
    ],
)
def test_an_endpoint_that_answers_oddly_is_unknown_and_why_is_told(answering, answer):
    url = answering('{"input_tokens": 3}', answer)
    done = verify("--base-url", url, "--api-key", KEY, "--json", "--only", "T1,T30,T13")

    assert done.exception is None or isinstance(done.exception, SystemExit)
    rules = json.loads(done.stdout)["rules"]
    assert "unknown" in {rule["verdict"] for rule in rules}
    assert all(re.match(r"\w+: ", rule["observed"]) for rule in rules if rule["verdict"] == "unknown")


@pytest.mark.parametrize("counted", ["<html></html>", "{}", "[]", '{"input_tokens": "many"}', "null"])
def test_what_is_no_messages_endpoint_ends_with_two_before_anything_is_paid_for(answering, counted):
    done = verify("--base-url", answering(counted, "{}"), "--api-key", KEY, "--only", "T1")

    assert done.exit_code == 2
    assert "no Messages endpoint" in done.stderr
    assert done.stdout == ""


def test_a_verification_that_saw_nothing_ends_with_two():
    with EmulatorServer(Emulator(clock=SystemClock())) as server:
        waiting = verify("--base-url", server.url, "--api-key", KEY, "--only", "T25")

    assert "1 not run" in waiting.stdout
    assert waiting.exit_code == 2


def test_a_dry_run_for_a_real_clock_counts_what_waits_only_if_slow():
    asked = ("--api-key", KEY, "--dry-run", "--only", "T1,T25")
    alone = Decimal(report("--api-key", KEY, "--dry-run", "--only", "T1")["spent"])

    assert Decimal(report(*asked)["spent"]) == alone
    assert Decimal(report(*asked, "--slow")["spent"]) > alone
    assert "without what waits in real time, which --slow allows: T25" in verify(*asked).stdout


def test_the_rules_of_a_platform_are_expected_where_they_differ():
    with EmulatorServer(Emulator(Settings(platform="bedrock"), clock=VirtualClock())) as server:
        asked = ("--base-url", server.url, "--api-key", KEY, "--only", "T21,T41")
        assert set(verdicts(*asked).values()) == {"differ"}
        assert set(verdicts(*asked, "--platform", "bedrock").values()) == {"agree"}
    assert set(verdicts("--platform", "bedrock", "--only", "T21,T41").values()) == {"agree"}
