"""Training jobs by the Python client, from the upload to the live model."""

import asyncio
import hashlib
import itertools

import pytest
from harness import BIN, Server, encode, smooth
from jobs_test import CONFIG, SERVER, picture

from deweather_client import AsyncClient, Client, DeweatherError, InvalidArgument, NotFound, state_name
from deweather_client.v1 import train_config_pb2, training_pb2

pytestmark = pytest.mark.skipif(not (BIN / "deweather-train").exists(), reason="deweather-train is not built")
TEXT = CONFIG % {"steps": 40, "more": ""}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("jobs")
    for i in range(4):
        picture(made / f"scenes/{i}.png", i)
        picture(made / f"rainy/input/{i}.png", i, shift=30)
        picture(made / f"rainy/gt/{i}.png", i)
    (made / "scenes/.hidden").write_text("left out")
    return made


@pytest.fixture(scope="module")
def trainer(folder):
    (folder / "data").mkdir()
    config = SERVER % {"training": "", "more": "", "drain_s": 30}
    options = ("--model", "identity", "--data-dir", str(folder / "data"), "--precision", "f32")
    with Server(*options, config=config) as running:
        with Client(running.address) as client:
            assert client.datasets.upload("scenes", folder / "scenes").kind == training_pb2.Dataset.KIND_CLEAN
            assert client.datasets.upload("rainy", folder / "rainy").pictures == 4
        yield running


@pytest.fixture
def client(trainer):
    with Client(trainer.address) as made:
        yield made


def states(events):
    return [training_pb2.Job.State.Name(event.state_change.state) for event in events if event.HasField("state_change")]


def test_from_submit_to_live(client, tmp_path):
    job = client.jobs.submit(TEXT, labels={"camera": "north"}, request_id="once")
    assert client.jobs.submit(TEXT, labels={"camera": "north"}, request_id="once").id == job.id
    events = list(client.jobs.watch(job.id))
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert states(events) == ["STATE_QUEUED", "STATE_RUNNING", "STATE_SUCCEEDED"]
    assert [event.number for event in client.jobs.watch(job.id, after=3)] == list(range(4, len(events) + 1))
    assert list(client.jobs.watch(job.id, after=len(events))) == []
    done = client.jobs.get(job.id)
    assert state_name(done) == "SUCCEEDED" and done.progress.step == 40
    log = b"".join(client.jobs.logs(job.id, follow=True))
    assert b"step 40/40" in log
    assert b"".join(client.jobs.logs(job.id, offset=10)) == log[10:]
    names = [artifact.name for artifact in client.jobs.checkpoints(job.id)]
    assert names[0].endswith("step-000000040.safetensors")
    place = client.jobs.download(job.id, "run/tiny-best.safetensors", tmp_path)
    assert place == tmp_path / "tiny-best.safetensors"
    assert hashlib.sha256(place.read_bytes()).hexdigest()[:12] == done.model_version
    with pytest.raises(FileExistsError):
        client.jobs.download(job.id, "run/tiny-best.safetensors", tmp_path)
    assert client.models.promote(job=job.id).live_version == done.model_version
    assert client.restore(encode(smooth(64, 64)), model="tiny").model.version == done.model_version
    succeeded = client.jobs.list(states=["succeeded"], labels={"camera": "north"}, limit=0)
    assert [found.id for found in succeeded] == [job.id]
    assert client.jobs.list(labels={"camera": "south"}) == []
    assert [dataset.name for dataset in client.datasets.list()] == ["rainy", "scenes"]


def test_every_form_of_a_configuration(client, tmp_path):
    (tmp_path / "job.textproto").write_text(TEXT)
    message = train_config_pb2.TrainConfig(name="tiny", steps=7)
    message.data.clean.add(dir="scenes", weather="rain")
    as_dict = {"name": "tiny", "steps": 7, "data": {"clean": [{"dir": "scenes", "weather": "rain"}]}}
    for config, steps in ((TEXT, 40), (tmp_path / "job.textproto", 40), (message, 7), (as_dict, 7)):
        checked = client.jobs.submit(config, validate_only=True)
        assert (checked.id, checked.config.steps) == ("", steps)
    with pytest.raises(ValueError, match="no configuration of a run: 1:1.*dance"):
        client.jobs.submit("dance: 1")
    (tmp_path / "bad.textproto").write_text('name: "x"\ndance: 1')
    with pytest.raises(ValueError, match="bad.textproto:2:1"):
        client.jobs.submit(tmp_path / "bad.textproto")
    with pytest.raises(ValueError, match="dance"):
        client.jobs.submit({"dance": 1})


def test_what_is_refused(client, folder, tmp_path):
    with pytest.raises(NotFound, match="UNKNOWN_DATASET"):
        client.jobs.submit(TEXT.replace('"scenes"', '"nowhere"'))
    with pytest.raises(InvalidArgument):
        client.jobs.submit(TEXT + "accumulate: 5000")
    for call in (client.jobs.get, client.jobs.cancel, client.jobs.resume, client.jobs.delete, client.jobs.checkpoints,
                 lambda job: list(client.jobs.watch(job)), lambda job: list(client.jobs.logs(job)),
                 lambda job: client.jobs.download(job, "log.txt", tmp_path)):
        with pytest.raises(NotFound) as caught:
            call("nobody")
        assert caught.value.reason == "UNKNOWN_JOB"
    assert list(tmp_path.iterdir()) == [], "nothing is left of a download that failed"
    with pytest.raises(ValueError, match="queued, running"):
        client.jobs.list(states=["dancing"])
    with pytest.raises(ValueError, match="limit is -1"):
        client.jobs.list(limit=-1)
    with pytest.raises(DeweatherError, match="DATASET_EXISTS"):
        client.datasets.upload("scenes", folder / "scenes")


def test_folders_that_are_no_data_set(client, folder, tmp_path):
    def made(*names):
        root = tmp_path / "-".join(names).replace("/", "_")
        for name in names:
            picture(root / name, 1)
        return root

    for wrong, kind, says in ((made("input/a.png"), None, "pairs need input/ and gt/"),
                              (made("a.png"), "pairs", "no input/"), (made("a.png"), "both", "pairs, clean"),
                              (made("input/a.png", "gt/a.png"), "clean", "as pairs do"),
                              (made("input/a.png", "gt/a.png", "c.png"), None, "nothing beside"),
                              (made("a b.png"), None, "a name has")):
        with pytest.raises(ValueError, match=says):
            client.datasets.upload("wrong", wrong, kind=kind)
    (tmp_path / "notes").mkdir()
    with pytest.raises(ValueError, match="is empty"):
        client.datasets.upload("wrong", tmp_path / "notes")
    (tmp_path / "notes/a.txt").write_text("x")
    with pytest.raises(ValueError, match="is no picture"):
        client.datasets.upload("wrong", tmp_path / "notes")
    with pytest.raises(InvalidArgument, match="PAIRS_MISMATCH"):
        client.datasets.upload("wrong", made("input/a.png", "gt/b.png"))
    assert "wrong" not in [dataset.name for dataset in client.datasets.list()]


def test_a_file_that_goes_away_while_it_is_uploaded_leaves_nothing(client, folder, monkeypatch):
    """The upload would be a whole, smaller data set if the stream just ended."""
    import deweather_client.datasets as module

    plan = module.plan_dataset(folder / "scenes", None)
    broken = type(plan)(plan.kind, (*plan.files[:2], ("3.png", folder / "gone.png")))
    monkeypatch.setattr(module, "plan_dataset", lambda *_: broken)
    with pytest.raises(FileNotFoundError):
        client.datasets.upload("torn", folder / "scenes")
    assert "torn" not in [dataset.name for dataset in client.datasets.list()]


def test_cancel_resume_delete(client):
    job = client.jobs.submit(CONFIG % {"steps": 100000, "more": ""})
    watching = client.jobs.watch(job.id)
    next(event for event in watching if event.HasField("checkpoint"))
    assert state_name(client.jobs.cancel(job.id, reason="enough")) in ("CANCELLING", "CANCELLED")
    assert states(watching)[-1] == "STATE_CANCELLED"
    other = client.jobs.resume(job.id)
    assert other.resumed_from == job.id
    next(event for event in client.jobs.watch(other.id) if event.HasField("progress"))  # and leaves the watch
    client.jobs.cancel(other.id)
    list(client.jobs.watch(other.id))
    client.jobs.delete(other.id)
    with pytest.raises(NotFound):
        client.jobs.get(other.id)


def test_asyncio(trainer, tmp_path, folder):
    async def work():
        async with AsyncClient(trainer.address) as client:
            await client.datasets.upload("again", folder / "rainy")
            assert "again" in [dataset.name for dataset in await client.datasets.list()]
            for _ in range(20):  # while pictures are on their way
                with pytest.raises(DeweatherError, match="DATASET_EXISTS"):
                    await client.datasets.upload("again", folder / "rainy")
            job = await client.jobs.submit(CONFIG % {"steps": 12, "more": ""}, labels={"loop": "yes"})
            events = [event async for event in client.jobs.watch(job.id)]
            assert states(events)[-1] == "STATE_SUCCEEDED"
            log = b"".join([part async for part in client.jobs.logs(job.id)])
            assert b"step 12/12" in log
            [artifact] = [a for a in await client.jobs.checkpoints(job.id) if a.name == "log.txt"]
            place = await client.jobs.download(job.id, artifact.name, tmp_path / "log.txt")
            assert place.read_bytes().endswith(log)
            assert [found.id for found in await client.jobs.list(labels={"loop": "yes"})] == [job.id]
            version = (await client.jobs.get(job.id)).model_version
            assert (await client.models.promote("tiny", version)).live_version == version
            assert (await client.models.get("tiny")).live_version == version
            assert "tiny" in [model.name for model in await client.models.list()]
            imported = await client.models.import_file(await client.jobs.download(
                job.id, "run/tiny-best.safetensors", tmp_path), name="other")
            await client.models.delete("other", imported.version)
            await client.jobs.delete(job.id)
            with pytest.raises(NotFound):
                await client.jobs.cancel(job.id)

    asyncio.run(asyncio.wait_for(work(), 120))


def test_many_jobs_come_by_pages(client, monkeypatch):
    import deweather_client.job_requests as module

    monkeypatch.setattr(module, "MAX_PAGE", 2)
    jobs = [client.jobs.submit(CONFIG % {"steps": 1, "more": ""}, labels={"page": "yes"}) for _ in range(5)]
    newest_first = [job.id for job in reversed(jobs)]
    for limit, expected in ((0, 5), (1, 1), (3, 3), (50, 5)):
        assert [job.id for job in client.jobs.list(labels={"page": "yes"}, limit=limit)] == newest_first[:expected]
    for job in itertools.chain(jobs):
        list(client.jobs.watch(job.id))
