"""The time of a program written by hand, against arithmetic by hand."""

import pytest

from src.plan import compiler, gpu, roofline
from src.training import hlo
from tests.support import miniature

# The first kernel reads and writes four million numbers while as many are gathered from the other
# GPU. The second reads eight million and writes four million.
PROGRAM = """HloModule jit_step

ENTRY %main (p: f32[4000000]) -> f32[4000000] {
  %p = f32[4000000]{0} parameter(0)
  %s = (f32[4000000]{0}, f32[8000000]{0}) all-gather-start(f32[4000000]{0} %p), replica_groups={{0,1}}, dimensions={0}
  %w = f32[4000000]{0} fusion(f32[4000000]{0} %p), kind=kLoop
  %d = f32[8000000]{0} all-gather-done((f32[4000000]{0}, f32[8000000]{0}) %s)
  ROOT %z = f32[4000000]{0} fusion(f32[8000000]{0} %d), kind=kLoop
}
"""  # noqa: E501
FIRST, SECOND, GATHERED = 32e6, 48e6, 16e6  # bytes
MEMORY, NVLINK = 3.35e12, 450e9  # of an H100, in bytes per second


@pytest.mark.parametrize("assumed", [roofline.IDEAL, roofline.Assumptions()])
def test_step_time_is_that_of_its_bytes(assumed: roofline.Assumptions) -> None:
    instructions = hlo.instructions(PROGRAM)
    program = compiler.Program(
        mesh=miniature.mesh(1, 2),
        global_batch=4,
        memory=compiler.Memory(0, 0, 0, 0, 0, 0),
        instructions=instructions,
        collectives=hlo.collectives(instructions, []),
    )
    timeline = roofline.run(program, gpu.load("h100"), assumed)
    kernels = (FIRST + SECOND) / MEMORY / assumed.memory
    gather = assumed.host_latency + GATHERED / NVLINK / assumed.links
    exposed = gather - FIRST / MEMORY / assumed.memory
    assert timeline.parts["memory-bound"].bytes == FIRST + SECOND
    assert timeline.parts["memory-bound"].seconds == pytest.approx(kernels)
    assert timeline.exposed == pytest.approx(exposed)
    assert timeline.seconds == pytest.approx(kernels + exposed)
