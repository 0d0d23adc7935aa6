"""A real server on loopback: it answers as `predict` does, and every bad request gets its status and its reason."""

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limits import parse
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
from serving_parts import SMALL, bundle_of, host, service_of, serving
from tiny_bundle import TEXTS

from pipeline.answer import answers_of
from pipeline.errors import SourceError
from pipeline.monitoring.log import AnswerLog
from pipeline.monitoring.monitor import read_log
from pipeline.serving.app import Service
from pipeline.serving.hosted import Hosted
from pipeline.serving.schema import ClassAnswer, LabelsAnswer, TagsAnswer, ValueAnswer

FORMS = {
    "classification": ClassAnswer,
    "multi_label": LabelsAnswer,
    "regression": ValueAnswer,
    "tagging": TagsAnswer,
}


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Hosted:
    return host(bundle_of("classification", tmp_path_factory.mktemp("bundle")))


@pytest.fixture(scope="module")
def service(hosted: Hosted) -> Service:
    return service_of(hosted)


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with serving(service) as client:
        yield client


@pytest.mark.parametrize("kind", FORMS)
def test_every_kind_answers_as_predict_does(kind: str, tmp_path: Path) -> None:
    hosted = host(bundle_of(kind, tmp_path))
    texts = [*TEXTS[:3], "\x00\x1f\u202e control characters"]
    with serving(service_of(hosted)) as client:
        said = client.post("/predict", json={"texts": texts, "pairs": [None, "and", None, None], "top": 2}).json()
        assert client.get("/model").json()["kind"] == kind
        client.post("/predict", json={"texts": ["\x1c"]}).raise_for_status()
    assert (said["model"], said["version"]) == ("clinic-organ", "1")
    for answer, expected in zip(
        said["answers"], answers_of(hosted.bundle, texts, [None, "and", None, None], 2), strict=True
    ):
        assert flat(FORMS[kind].model_validate(answer).model_dump()) == pytest.approx(flat(expected), abs=1e-5)
        assert answer.keys() == expected.keys()


def flat(said: object) -> list:
    """Return the leaves, in the order of their names."""
    if isinstance(said, dict):
        return [leaf for name in sorted(said) for leaf in flat(said[name])]
    return [leaf for each in said for leaf in flat(each)] if isinstance(said, list) else [said]


def test_answers_under_load_are_those_of_the_texts_and_come_from_few_batches(
    client: httpx.Client, service: Service, hosted: Hosted
) -> None:
    before = service.metrics.registry.get_sample_value("tradewind_batch_texts_count")
    texts = [TEXTS[number % len(TEXTS)] for number in range(96)]
    with ThreadPoolExecutor(12) as pool:
        said = list(pool.map(lambda text: client.post("/predict", json={"texts": [text]}).json(), texts))
    expected = {
        text: answer["label"] for text, answer in zip(TEXTS, answers_of(hosted.bundle, TEXTS, None, 1), strict=True)
    }
    assert [each["answers"][0]["label"] for each in said] == [expected[text] for text in texts]
    assert service.metrics.registry.get_sample_value("tradewind_batch_texts_count") - before < 90


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 422, "the body is no JSON object"),
        (b"[]", 422, "the body is no JSON object"),
        (b'{"texts": ', 400, "the body is not JSON: Expecting value"),
        (b'{"texts": ["caf\xe9"]}', 400, "the body is not UTF-8: byte 0xe9 at position 15"),
        (b"[" * 4000, 400, "nested too deeply"),
        (b'{"texts": ["a"], "top": ' + b"9" * 3900 + b"}", 422, "top"),
        (b'{"texts": ["a"], "top": NaN}', 422, "top"),
        (b'{"texts": ["a"], "top": 0}', 422, "top: received a number; expected a whole number from 1 to 1000"),
        (b'{"texts": ["a"], "top": "\\ud800"}', 422, "top: received text; expected a whole number from 1 to 1000"),
        (b"{}", 422, "texts is missing; send "),
        (b'{"texts": []}', 422, "texts is empty; expected at least one text"),
        (b'{"texts": "a"}', 422, "texts: received text; expected a list of texts"),
        (b'{"texts": ["a", 7]}', 422, "texts.1: received a number; expected text"),
        (b'{"texts": ["a", null]}', 422, "texts.1: received null; expected text"),
        (b'{"texts": ["a", " \\n"]}', 422, "texts.1 is blank; expected words"),
        (b'{"texts": ["\\ud800"]}', 422, "texts.0 holds half of a surrogate pair"),
        (b'{"texts": ["a"], "\\ud800": 1}', 422, "surrogate"),
        (b'{"texts": ["a"], "txets": 1}', 422, "txets is not known; expected texts, pairs, top"),
        (b'{"texts": ["a", "b"], "pairs": ["c"]}', 422, "pairs has 1 texts and texts has 2; give one for each"),
        (json.dumps({"texts": ["a"] * 5}).encode(), 422, "texts is too long a list; expected at most 4 texts"),
        (json.dumps({"texts": ["a" * 201]}).encode(), 422, "texts.0 is too long; expected at most 200 characters"),
        (b" " * 5000, 413, "the body is larger than 4,000 bytes"),
    ],
)
def test_bad_requests_are_told_what_is_wrong(client: httpx.Client, body: bytes, status: int, reason: str) -> None:
    response = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json().keys()) == (status, {"detail"})
    assert reason in response.json()["detail"]
    assert "Traceback" not in response.text


def test_other_addresses_methods_and_types_are_refused(client: httpx.Client) -> None:
    assert client.get("/nothing").status_code == 404
    assert client.get("/predict").status_code == 405
    response = client.post("/predict", content=b'{"texts": ["a"]}', headers={"Content-Type": "text/plain"})
    assert response.status_code == 422
    assert "Content-Type: application/json" in response.json()["detail"]


def connect(client: httpx.Client, sent: bytes) -> bytes:
    """Send bytes and no more; return what comes back until the server closes."""
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=10) as connection:
        connection.sendall(sent)
        received = b""
        while part := connection.recv(4096):
            received += part
    return received


def test_slow_clients_are_not_waited_for(hosted: Hosted) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    with serving(service_of(hosted, replace(SMALL, body_seconds=0.5, head_seconds=0.5))) as client:
        assert connect(client, b"") == b""
        assert connect(client, head[:40]) == b""
        assert b"408 Request Timeout" in connect(client, head + b'{"texts":')


def test_who_hangs_up_is_not_answered(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    go, asked = threading.Event(), []

    def answer(_bundle, texts, *_):
        asked.extend(texts)
        assert go.wait(20)
        return [{"value": 1.0} for _ in texts]

    monkeypatch.setattr("pipeline.serving.hosted.answers_of", answer)
    service = service_of(hosted, replace(SMALL, max_wait=20))
    body = b'{"texts": ["gone"]}'
    head = b"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with serving(service) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/predict", json={"texts": ["first"]})
        wait_until(lambda: asked == ["first"])
        with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
            connection.sendall(head % len(body) + body)
            wait_until(lambda: service.batcher.waiting == 1)
        wait_until(lambda: service.batcher.waiting == 0)
        go.set()
        assert first.result().status_code == 200
    assert asked == ["first"]


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_body_without_an_end_is_cut_off(client: httpx.Client) -> None:
    chunk = b"3E8\r\n" + b"x" * 1000 + b"\r\n"
    head = b"POST /predict HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b"413" in connect(client, head + chunk * 70)


def test_tokens_are_asked_for_where_the_model_is(hosted: Hosted) -> None:
    with serving(service_of(hosted, tokens=("first-secret", "second-secret"))) as client:
        for path in ("/model", "/metrics"):
            assert client.get(path).status_code == 401
        assert [client.get(path).status_code for path in ("/", "/healthz", "/readyz", "/docs")] == [200] * 4
        for wrong in ("Bearer", "Bearer first-secre", "Basic first-secret", "first-secret"):
            response = client.post("/predict", json={"texts": ["a"]}, headers={"Authorization": wrong})
            assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
            assert "Authorization: Bearer TOKEN" in response.json()["detail"]
        right = {"Authorization": "Bearer first-secret"}
        assert client.post("/predict", json={"texts": ["a"]}, headers=right).status_code == 200


def test_who_asks_too_often_is_told_when_to_come_back(hosted: Hosted) -> None:
    limits = replace(SMALL, rate=parse("3/hour"))
    with serving(service_of(hosted, limits, tokens=("one", "two"))) as client:

        def ask(token: str) -> httpx.Response:
            return client.post("/predict", json={"texts": ["a"]}, headers={"Authorization": f"Bearer {token}"})

        assert [ask("one").status_code for _ in range(4)] == [200, 200, 200, 429]
        assert 1 <= int(ask("one").headers["retry-after"]) <= 3600
        assert ask("two").status_code == 200
        assert [ask("wrong").status_code for _ in range(4)] == [401, 401, 401, 429], "tokens can be guessed for ever"
        assert client.get("/healthz").status_code == 200


def test_a_full_queue_answers_503_and_when_to_come_back(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.serving.hosted.answers_of", lambda *_: time.sleep(0.3) or [])
    with serving(service_of(hosted, replace(SMALL, max_wait=0.1))) as client:
        response = client.post("/predict", json={"texts": ["a"]})
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert "has not answered within 0.1 s" in response.json()["detail"]


def test_what_only_the_kind_can_refuse_is_the_clients_error(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_):
        raise SourceError("text 1 has no question")

    monkeypatch.setattr("pipeline.serving.hosted.answers_of", refuse)
    with serving(service_of(hosted)) as client:
        response = client.post("/predict", json={"texts": ["a"]})
    assert (response.status_code, response.json()) == (422, {"detail": "text 1 has no question"})


def test_an_error_of_the_program_is_not_shown_to_the_client(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.serving.hosted.answers_of", lambda *_: 1 / 0)
    with serving(service_of(hosted)) as client:
        response = client.post("/predict", json={"texts": ["a"]})
    assert (response.status_code, "division" in response.text) == (500, False)


def test_pages_load_nothing_from_elsewhere(client: httpx.Client) -> None:
    for path in ("/", "/docs"):
        page = client.get(path).text
        assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//[^"']+""", page)
    script = re.search(r'src="(/[^"]+swagger[^"]+\.js)"', client.get("/docs").text)
    assert script is not None
    assert len(client.get(script[1]).content) > 100_000


def test_prometheus_is_told_of_requests_batches_and_the_version(client: httpx.Client) -> None:
    client.post("/predict", json={"texts": ["a"]})
    client.get("/made/up/path")
    text = client.get("/metrics").text
    assert re.search(r'tradewind_requests_total\{path="/predict",status="200"\} [1-9]', text)
    assert 'path="other",status="404"' in text
    assert "made/up" not in text
    assert 'tradewind_model{alias="champion",kind="classification",model="clinic-organ",version="1"} 1.0' in text
    assert {"tradewind_queue_texts", "tradewind_batch_texts_bucket", "tradewind_request_seconds_bucket"} <= {
        line.partition("{")[0].partition(" ")[0] for line in text.splitlines()
    }


@pytest.fixture(scope="module")
def described(client: httpx.Client):
    return schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")


@pytest.mark.parametrize("mode", list(GenerationMode))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_is_sent_is_answered_as_the_openapi_page_says(described, mode: GenerationMode, data) -> None:
    case = data.draw(described["/predict"]["POST"].as_strategy(generation_mode=mode))
    case.call_and_validate(checks=[not_a_server_error, status_code_conformance, response_schema_conformance])


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_is_answered_unless_it_is_blank(client: httpx.Client, text: str) -> None:
    response = client.post("/predict", json={"texts": [text]})
    assert response.status_code in ({200, 422} if not text.strip() else {200}), (text, response.text)


def test_answers_are_logged_once_sent_and_a_full_disk_stops_no_answer(hosted: Hosted, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    service = replace(service_of(hosted), log=AnswerLog(folder, "clinic-organ", redact=["email"], rows=2))
    texts = [TEXTS[0], "mail to a@b.org"]
    with serving(service) as client:
        said = client.post("/predict", json={"texts": texts}).json()["answers"]
        client.post("/predict", json={"texts": [""]})  # refused, so not logged
        while not list(folder.glob("*.parquet")):
            time.sleep(0.01)
        folder.rename(tmp_path / "kept")
        assert client.post("/predict", json={"texts": texts}).status_code == 200
    assert service.log.lost == 2
    rows = read_log(tmp_path / "kept", "clinic-organ", "1", None)
    assert rows["text"].to_pylist() == [TEXTS[0], "mail to <EMAIL>"]
    assert json.loads(rows["answer"][0].as_py()) == said[0]
    assert rows["confidence"][0].as_py() == pytest.approx(said[0]["confidence"])
