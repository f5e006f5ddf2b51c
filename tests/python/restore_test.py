"""Client.restore against the real server: the same bytes as the C++ client's, everything that the reply tells."""

import io

import numpy as np
import pytest
from harness import ROOT, Server, encode, noise, smooth
from PIL import Image

from deweather_client import Client, NotFound

FIXTURES = ROOT / "tests/model/fixtures"


@pytest.fixture(scope="module")
def experts(tmp_path_factory):
    """A server with a small network as its only model, imported and promoted by this client."""
    folder = tmp_path_factory.mktemp("data")
    with Server("--model", "identity", "--data-dir", str(folder), "--precision", "f32") as running:
        with Client(running.address) as client:
            stored = client.models.import_file(FIXTURES / "fme.safetensors", name="tiny", origin="a fixture")
            assert client.models.promote("tiny", stored.version).live_version == stored.version
            yield running, client, stored.version


def test_bytes_are_those_of_the_command(experts, command):
    running, client, version = experts
    for suffix, file in ((".png", encode(smooth(100, 70))), (".jpg", encode(smooth(90, 60), "JPEG", quality=80)),
                         (".webp", encode(smooth(80, 50), "WEBP", lossless=True))):
        restored = client.restore(file, model="tiny")
        assert restored.image == command(running.address, file, suffix, "--model", "tiny")
        assert restored.image != file
        assert restored.model == ("tiny", version)
    strip = client.restore(encode(smooth(64, 64)), model="tiny", strength=0.5, metadata="strip")
    assert strip.image == command(running.address, encode(smooth(64, 64)), ".png", "--model", "tiny", "--strength",
                                  "0.5", "--metadata", "strip")


def test_routing_maps_and_timings(experts):
    _, client, _ = experts
    file = encode(smooth(100, 70))
    told = client.restore(file, model="tiny", expert_map=True, uncertainty_map=True, seed=3)
    assert told.routing is not None
    for layer in told.routing.layers:
        assert sum(layer.tokens) == told.routing.units * told.routing.kept
    assert Image.open(io.BytesIO(told.expert_map)).mode == "L"
    assert Image.open(io.BytesIO(told.uncertainty_map)).mode == "I;16"
    again = client.restore(file, model="tiny", uncertainty_map=True, seed=3)
    assert again.uncertainty_map == told.uncertainty_map
    assert again.expert_map is None
    assert client.restore(file, model="tiny", uncertainty_map=True, seed=4).uncertainty_map != told.uncertainty_map
    assert 0 < told.timings.infer <= told.timings.total < 60
    assert told.timings.tiles >= 1 and told.timings.batches >= 1
    assert (told.width, told.height, told.format) == (100, 70, "png")


def test_models(experts):
    _, client, version = experts
    assert [model.name for model in client.models.list()] == ["identity", "tiny"]
    other = client.models.import_file(FIXTURES / "moe.safetensors", name="tiny")
    assert other.added and not client.models.import_file(FIXTURES / "moe.safetensors", name="tiny").added
    trial = client.models.promote("tiny", other.version, canary_percent=5)
    assert (trial.live_version, trial.canary_version, trial.canary_percent) == (version, other.version, 5)
    assert client.models.rollback("tiny").canary_version == ""
    client.models.delete("tiny", other.version)
    assert [stored.version for stored in client.models.get("tiny").versions] == [version]
    with pytest.raises(NotFound) as caught:
        client.models.get("nobody")
    assert caught.value.reason == "UNKNOWN_MODEL"
    for wrong in ({}, {"name": "tiny", "job": "x"}, {"name": "tiny", "version": "0", "canary_percent": 100},
                  {"job": "x", "max_regression_db": 1.0}):
        with pytest.raises(ValueError):
            client.models.promote(**wrong)


def test_a_file_that_is_none_of_a_model_is_refused(experts, tmp_path):
    _, client, _ = experts
    (tmp_path / "bad.safetensors").write_bytes(bytes(3 << 20))
    with pytest.raises(ValueError, match="INVALID_CHECKPOINT"):
        client.models.import_file(tmp_path / "bad.safetensors")
    with pytest.raises(FileNotFoundError):
        client.models.import_file(tmp_path / "none.safetensors")


def test_formats(client):
    for name, magic in (("jpeg", b"\xff\xd8"), ("png", b"\x89PNG"), ("webp", b"RIFF"), ("tiff", b"II"), ("bmp", b"BM")):
        restored = client.restore(encode(smooth(40, 30)), format=name)
        assert restored.format == name
        assert restored.image.startswith(magic)
    assert len(client.restore(encode(smooth(200, 200)), format="jpeg", quality=10).image) < len(
        client.restore(encode(smooth(200, 200)), format="jpeg", quality=95).image)


def test_a_large_picture_goes_in_chunks(server):
    """Above our own limit of a message, and above the server's, whichever way."""
    pixels = noise(3500, 3300)
    with Client(server.address, timeout=120) as client:
        restored = client.restore(pixels)
        np.testing.assert_array_equal(restored.picture, pixels)
        told = []
        tell = lambda done, tiles: told.append((done, tiles))  # noqa: E731
        large = client.restore_large(encode(noise(900, 700)), on_progress=tell)
        assert large.image == client.restore(encode(noise(900, 700))).image
        assert told == sorted(told) and told[-1][0] <= told[-1][1]
    file = encode(noise(800, 600))
    assert len(file) > 1 << 20
    for limit in ("max_receive_bytes: 1048576", "max_send_bytes: 1100000"):
        with Server("--model", "identity", config=f"limits {{ {limit} }} drain {{ delay {{}} }}") as small:
            with Client(small.address) as client:
                assert client.restore(file).image


def test_health(client):
    assert client.health() == "SERVING"
    assert client.health("deweather.v1.RestorationService") == "SERVING"
    with pytest.raises(NotFound):
        client.health("nobody")


def test_the_environment_names_the_server(server, monkeypatch):
    monkeypatch.setenv("DEWEATHER_SERVER", server.address)
    with Client() as client:
        assert client.health() == "SERVING"
    monkeypatch.setenv("DEWEATHER_SERVER", "nowhere")
    with pytest.raises(ValueError, match="'nowhere' is no HOST:PORT"):
        Client()
