"""The live decoder gives, bit for bit, what the decoder of many answers gives."""

from __future__ import annotations

import numpy as np
import pydantic
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edge.model.decode import decode_answers
from edge.model.live import LiveDecoder
from edge.model.plan import request_of
from edge.model.points import Order, Point, PointSpec, RegisterType
from gateway.contract.reading import Kind

SCALES = (1.0, 0.01, 0.1, 2.5, -0.001, 1e-20)


@st.composite
def points(draw: st.DrawFn) -> list[Point]:
    if draw(st.integers(0, 5)) == 0:
        coil = {"table": "coil", "type": "bit", "period_ms": 1000}
        invalid = draw(st.sampled_from([(), (1,)]))
        specs = [PointSpec.model_validate({**coil, "address": at, "invalid": invalid}) for at in range(9)]
        return [Point(f"p{at}", spec, Order.ABCD, at) for at, spec in enumerate(specs)]
    out: list[Point] = []
    at = 0
    for number in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from(list(RegisterType)))
        keys: dict[str, object] = {"table": "input", "address": at, "type": kind.value, "period_ms": 1000}
        if kind is RegisterType.BIT:
            keys["bit"] = draw(st.integers(0, 15))
        elif kind is RegisterType.STRING:
            keys["length"] = draw(st.integers(1, 6))
        else:
            keys["scale"], keys["offset"] = draw(st.sampled_from(SCALES)), draw(st.sampled_from([0.0, -40.0]))
            keys["range"] = draw(st.sampled_from([None, (-10.0, 1000.0)]))
            keys["invalid"] = (
                draw(st.sampled_from([(), (0,), (32767, 32768), (65535,), (-1.0, float("nan"))]))
                if not kind.of_integers
                else draw(st.sampled_from([(), (0,), (32767, 32768), (65535, 4294967295)]))
            )
            keys["kind"] = draw(
                st.sampled_from([None, None, None, *(k for k in Kind if k is not Kind.STRING)])
            )
            if draw(st.integers(0, 9)) == 0:
                keys["assert"] = 7
        try:
            spec = PointSpec.model_validate(keys)
        except pydantic.ValidationError:
            assume(False)
        out.append(Point(f"p{number}", spec, draw(st.sampled_from(list(Order))), at))
        at += spec.width + draw(st.integers(0, 1))
    return out


WORDS = st.sampled_from([0, 1, 7, 255, 256, 32767, 32768, 65535, 0x7FC0, 0x7F80]) | st.integers(0, 65535)


@settings(max_examples=400, deadline=None)
@given(points=points(), data=st.data())
def test_live_equals_history(points: list[Point], data: st.DataObject) -> None:
    request = request_of(points)
    registers = np.array(
        data.draw(st.lists(WORDS, min_size=request.count, max_size=request.count)), np.uint16
    )
    keys = {point.name: 5 + i for i, point in enumerate(points)}
    with np.errstate(all="ignore"):
        live, same = LiveDecoder(request, keys).decode(registers, 123)
        slow, identity = decode_answers(request, registers[np.newaxis], np.array([123], np.int64), keys)
    assert same == (None if identity is None else bool(identity[0]))
    for one, other in zip(live, slow, strict=True):
        for name in ("key", "time_ms", "field", "bits", "quality", "reason"):
            assert getattr(one, name).tolist() == getattr(other, name).tolist(), name
            assert getattr(one, name).dtype == getattr(other, name).dtype, name
        assert one.strings == other.strings
