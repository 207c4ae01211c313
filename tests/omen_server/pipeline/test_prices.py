import pytest

from tests.omen_server.pipeline.raw_events import NOT_APPLICABLE, PASSED, article, event, price, verdict

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("change_pct", "z_score", "step", "boost"),
    [
        (0.0, 0.0, 0, 0.0),
        (4.9999, 0.0, 0, 0.0),
        (5.0, 0.0, 1, 0.02),
        (-5.0, 0.0, 1, 0.02),
        (9.9999, 0.0, 1, 0.02),
        (10.0, 0.0, 2, 0.05),
        (19.9999, 0.0, 2, 0.05),
        (20.0, 0.0, 3, 0.08),
        (-90.0, 0.0, 3, 0.08),
        (0.0, 1.9999, 0, 0.0),
        (0.0, 2.0, 1, 0.02),
        (0.0, -2.0, 1, 0.02),
        (0.0, 2.4999, 1, 0.02),
        (0.0, 2.5, 2, 0.05),
        (0.0, 2.9999, 2, 0.05),
        (0.0, 3.0, 3, 0.08),
        (5.0, 3.0, 3, 0.08),
        (NAN, NAN, 0, 0.0),
        (NAN, 2.0, 1, 0.02),
        (5.0, NAN, 1, 0.02),
        (INF, 0.0, 0, 0.0),
        (-INF, 0.0, 0, 0.0),
        (0.0, INF, 3, 0.08),
        (0.0, -INF, 3, 0.08),
    ],
)
def test_steps(change_pct: float, z_score: float, step: int, boost: float) -> None:
    """
    A move is as large as the percentage or the deviations say, whichever says more; NaN says nothing.
    """
    answer = verdict("price_context", price(change_pct=change_pct, z_score=z_score))
    assert answer.status == PASSED
    assert (answer.parameters["step"], answer.parameters["boost"]) == (step, boost)


@pytest.mark.parametrize(("z_score", "shown"), [(10.0, 10.0), (10.1, 10.0), (INF, 10.0), (-11.0, -10.0), (2.0, 2.0)])
def test_deviations_are_clamped(z_score: float, shown: float) -> None:
    """
    Beyond ten deviations a z-score says no more.
    """
    assert verdict("price_context", price(z_score=z_score)).parameters["z_score"] == shown


def test_freight_too() -> None:
    """
    Freight is judged as prices are.
    """
    assert verdict("price_context", event("freight", "x", attributes={"change_pct": -12})).parameters["step"] == 2


def test_nothing_is_said() -> None:
    """
    A price without a change gives no context, and is not refused.
    """
    answer = verdict("price_context", event("prices", "x"))
    assert (answer.status, answer.score, answer.parameters["boost"]) == (PASSED, 0.0, 0.0)


def test_no_price() -> None:
    """
    Of what is no price the rule says nothing.
    """
    assert verdict("price_context", article()).status == NOT_APPLICABLE
