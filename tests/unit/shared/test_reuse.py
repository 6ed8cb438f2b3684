import pytest

from shared.cache_key import reusable
from shared.request import Message, Parameters, Request, Text

GREEDY = Parameters(temperature=0)
SAMPLING = Parameters(temperature=0.7)
SEEDED = Parameters(temperature=0.7, seed=0)
PLAIN = Parameters()


def request(parameters: Parameters) -> Request:
    message = Message(role="user", parts=(Text(text="Hi"),))
    return Request(model="m", messages=(message,), parameters=parameters)


@pytest.mark.parametrize("parameters", [GREEDY, SAMPLING, SEEDED, PLAIN])
@pytest.mark.parametrize("hf", [True, False])
def test_a_caller_who_refuses_the_cache_always_gets_a_new_query(parameters: Parameters, hf: bool) -> None:
    assert not reusable(request(parameters), use_cache=False, samples_default=False, hf=hf)


@pytest.mark.parametrize("parameters", [GREEDY, SAMPLING, SEEDED, PLAIN])
@pytest.mark.parametrize("samples_default", [True, False, None])
def test_hugging_face_routes_keep_their_cache(parameters: Parameters, samples_default: bool | None) -> None:
    assert reusable(request(parameters), use_cache=True, samples_default=samples_default, hf=True)


@pytest.mark.parametrize(
    ("parameters", "samples_default", "expected"),
    [
        (PLAIN, False, True),
        (PLAIN, True, False),
        (PLAIN, None, False),
        (GREEDY, True, True),
        (GREEDY, None, True),
        (SAMPLING, False, False),
        (SEEDED, True, True),
        (SEEDED, None, True),
        (Parameters(do_sample=False), None, True),
        (Parameters(do_sample=True), False, False),
        (Parameters(top_p=0.5), False, True),
    ],
)
def test_sampling_is_a_new_draw(parameters: Parameters, samples_default: bool | None, expected: bool) -> None:
    asked = request(parameters)
    assert reusable(asked, use_cache=True, samples_default=samples_default, hf=False) is expected
