"""`convcache replay --policy`: what it prints, draws and refuses."""

import builtins
import json

import pytest

from convcache.core.priors import SOURCES
from convcache.terminal import traffic
from tests.traces import billed, proxied, written

NAMES = "none,automatic,5m+1,adaptive,clairvoyant"


@pytest.fixture
def trace(tmp_path):
    many = [
        row
        for n in range(130)
        for row in billed([n, n + 40, n + 900, n + 950], thread=str(n), repo="big/one")
    ]
    few = [row for n in range(3) for row in billed([n * 9.0], thread=f"s{n}", repo=f"small/{n}")]
    return str(written(tmp_path / "sessions.jsonl", many + few))


def test_the_document_has_a_percentage_for_each_policy_by_corpus(command, trace, tmp_path):
    other = str(written(tmp_path / "loops.jsonl", proxied([0, 10, 20])))

    done = command("replay", trace, other, "--policy", NAMES, "--json")

    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert list(document) == ["sessions", "loops"]
    assert {tuple(policies) for policies in document.values()} == {tuple(NAMES.split(","))}
    assert document["sessions"]["none"] == 100
    assert document["sessions"]["clairvoyant"] < document["sessions"]["adaptive"] < 100


def test_the_document_can_be_by_repository_with_small_ones_together(command, trace):
    done = command("replay", trace, "--policy", "none,automatic", "--json", "--by", "repository")

    document = json.loads(done.stdout)
    assert list(document) == ["sessions/big/one", "sessions/3 smaller ones"]
    assert document["sessions/3 smaller ones"]["automatic"] == 125


def test_the_table_has_a_line_for_each_policy_and_each_repository(command, trace):
    done = command("replay", trace, "--policy", NAMES)

    assert done.exit_code == 0
    title, prior, _, head, *rest = done.stdout.splitlines()
    assert title == "sessions: 523 requests in 133 conversations"
    assert (
        prior
        == "adaptive starts from the shipped prior, which does not know this trace, and learns as it goes"
    )
    assert [line.split()[0] for line in rest[:5]] == NAMES.split(",")
    assert "wasted" in head
    assert [line.split()[:2] for line in rest[-2:]] == [["big/one", "520"], ["3", "smaller"]]
    assert done.stderr == ""


def test_a_trace_the_prior_was_fitted_on_is_played_without_it_unless_asked(command, trace, monkeypatch):
    known = next(iter(SOURCES))
    monkeypatch.setattr(traffic, "sha256", lambda _: type("Digest", (), {"hexdigest": lambda _: known})())

    apart, same = (
        command("replay", trace, "--policy", "adaptive", *option) for option in ([], ["--in-sample"])
    )

    assert "fitted on the other traces, without this one" in apart.stdout
    assert "in-sample" in same.stdout


def test_the_price_of_a_read_can_be_set(command, trace):
    def automatic(*options: str) -> float:
        done = command("replay", trace, "--policy", "automatic", "--json", *options)
        return json.loads(done.stdout)["sessions"]["automatic"]

    assert automatic("--read-price", "0.1") == automatic() > automatic("--read-price", "0.025")


def test_a_folder_stands_for_the_traffic_in_it(command, tmp_path):
    written(tmp_path / "loops.jsonl", proxied([0, 10, 20]))
    (tmp_path / "README.md").write_text("Data.")

    done = command("replay", str(tmp_path), "--policy", "automatic", "--json")

    assert list(json.loads(done.stdout)) == ["loops"]
    assert done.stderr.startswith(f"Left out {tmp_path / 'README.md'}: ")


def test_a_transcript_can_be_compared_too(command, recording, tmp_path):
    recording.says("hello")
    recording.replies("msg_1", {"type": "text", "text": "Hi."}, prompt=6000)
    recording.after(minutes=7).says("more")
    recording.replies("msg_2", {"type": "text", "text": "Hi."}, prompt=6100)

    done = command("replay", recording.saved(tmp_path), "--policy", "automatic,5m+1", "--json")

    costs = json.loads(done.stdout)["session"]
    assert costs["automatic"] == 125
    assert costs["5m+1"] < 80


@pytest.mark.parametrize(("name", "start"), [("chart.svg", b"<?xml"), ("chart.png", b"\x89PNG")])
def test_it_is_drawn_in_the_format_of_the_file(command, trace, tmp_path, name, start):
    pytest.importorskip("matplotlib")

    done = command("replay", trace, "--policy", "none,automatic", "--plot", str(tmp_path / name))

    assert done.exit_code == 0, done.output
    assert (tmp_path / name).read_bytes().startswith(start)


def test_without_its_extra_a_plot_says_what_to_install(command, trace, tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *rest):
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(f"No module named {name!r}", name="matplotlib")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)

    done = command("replay", trace, "--policy", "none", "--plot", str(tmp_path / "chart.svg"))

    assert done.exit_code == 2
    assert "pip install 'convcache[plot]'" in done.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--policy", "adaptive,bold"], "there is no policy 'bold'"),
        (["--policy", "5m+N"], "there is no policy '5m+N'"),
        (["--policy", "none", "--plot", "chart.gif"], "written as .svg or .png"),
        (["--policy", "none", "--read-price", "0"], "--read-price"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_read(command, tmp_path, options, told):
    done = command("replay", str(tmp_path / "missing.jsonl"), *options)

    assert done.exit_code == 2
    assert told in done.stderr


def test_a_file_without_traffic_is_named_in_one_line(command, tmp_path):
    (tmp_path / "notes.txt").write_text("Dear diary")

    for name in ("notes.txt", "missing.jsonl"):
        done = command("replay", str(tmp_path / name), "--policy", "none")
        assert done.exit_code == 2
        assert done.stderr.startswith(f"Cannot replay {tmp_path / name}: ")
        assert done.stderr.count("\n") == 1


def test_several_files_need_a_policy(command, trace):
    done = command("replay", trace, trace)

    assert done.exit_code == 2
    assert "under a --policy" in done.stderr
