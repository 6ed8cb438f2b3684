"""What a job has fetched beside the pictures of earlier turns, which are stored already."""

import shutil
from collections.abc import Iterator

import pytest

from shared.blobs import digest
from shared.request import Image, Sound
from shared.settings import PictureSettings
from shared.store.admission import JobTerms, submit
from tests.attempt.test_intake import HELD, PICTURE, serving
from tests.support.attempt_harness import WorkerHarness, worker_harness
from tests.support.existing import existing
from tests.support.fetching import LOOPBACK
from tests.support.pictures import origin, picture
from tests.support.redis_server import RedisServer
from tests.support.sounds import sound
from worker.fetching.intake import Intake

EARLIER = picture(size=(48, 64))
LIMITS = PictureSettings(max_mb_request=(len(EARLIER) + len(PICTURE) - 1) / 2**20)


@pytest.fixture
def harness(redis: RedisServer) -> Iterator[WorkerHarness]:
    with worker_harness(redis, fetch=LOOPBACK) as context:
        context.blobs.write(digest(EARLIER), EARLIER)
        yield context


def go_on(harness: WorkerHarness, later: Image | Sound, limits: PictureSettings) -> str:
    """A job that shows the earlier picture and `later`, whose inputs a courier takes in."""
    placing = harness.placing("look", (Image(digest=digest(EARLIER)), later), blobs=(digest(EARLIER),))
    submitted = submit(placing, harness.settings, JobTerms(pending_terms=HELD), uploaded=True)
    assert harness.store.run(submitted).word == "intake"
    settings = harness.settings.model_copy(update={"pictures": limits})
    Intake(settings, harness.store, harness.nudger, harness.blobs, harness.leases, harness.worker).work()
    return placing.job


def test_remote_pictures_keep_to_the_limit_together_with_earlier_ones(harness: WorkerHarness) -> None:
    with origin(serving(PICTURE)) as there:
        error = harness.failure(go_on(harness, Image(url=there.url), LIMITS))
    assert (error.code, error.param) == ("payload_too_large", "images[1]")


def test_an_earlier_picture_counts_once_though_it_is_fetched_again(harness: WorkerHarness) -> None:
    with origin(serving(EARLIER)) as there:
        job = go_on(harness, Image(url=there.url), LIMITS)
    harness.attempt()
    assert harness.job(job).status == "succeeded"


def test_earlier_pictures_take_no_room_from_a_remote_sound(harness: WorkerHarness) -> None:
    said = sound("FLAC", 1.5)
    with origin(serving(said)) as there:
        job = go_on(harness, Sound(url=there.url), PictureSettings(max_mb_request=len(said) / 2**20))
    harness.attempt()
    assert harness.job(job).status == "succeeded"


def test_a_courier_whose_folder_is_not_mounted_fails_nobody_s_job(
    harness: WorkerHarness, caplog: pytest.LogCaptureFixture
) -> None:
    folder = existing(harness.settings.blobs.folder)
    for blobs in folder.iterdir():
        shutil.rmtree(blobs)
    go_on(harness, Image(url="http://127.0.0.1:9/"), LIMITS)
    assert caplog.messages == ["the folder of pictures and files is empty: is it mounted?"]


def test_who_goes_on_from_a_lost_picture_is_told_so_and_the_next_asked_for_it(
    harness: WorkerHarness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.blobs.delete(digest(EARLIER))
    job = go_on(harness, Image(url="http://127.0.0.1:9/"), LIMITS)
    assert caplog.messages == [f"job {job}: a file is missing from the blob store"]
    names = (digest(EARLIER),)
    again = submit(harness.placing("look", (Image(digest=digest(EARLIER)),), blobs=names), harness.settings)
    assert harness.store.run(again).missing == names
