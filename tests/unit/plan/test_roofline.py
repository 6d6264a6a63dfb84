"""The time of a program written by hand, against arithmetic by hand."""

import pytest

from src.plan import compiler, gpu, hlo, roofline
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


# A product within a fusion, which Triton compiles, of one half of a parameter.
PRODUCT = """HloModule jit_step

%within (a: f32[2,M,8192], b: f32[8192,8192]) -> f32[M,8192] {
  %a = f32[2,M,8192]{2,1,0} parameter(0)
  %s = f32[1,M,8192]{2,1,0} slice(f32[2,M,8192]{2,1,0} %a), slice={[0:1], [0:M], [0:8192]}
  %h = TYPE[M,8192]{1,0} bitcast(f32[1,M,8192]{2,1,0} %s)
  %b = TYPE[8192,8192]{1,0} parameter(1)
  ROOT %d = TYPE[M,8192]{1,0} dot(TYPE[M,8192]{1,0} %h, TYPE[8192,8192]{1,0} %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}PRECISION
}

ENTRY %main (a: f32[2,M,8192], b: f32[8192,8192]) -> f32[M,8192] {
  %a = f32[2,M,8192]{2,1,0} parameter(0)
  %b = TYPE[8192,8192]{1,0} parameter(1)
  ROOT %f = TYPE[M,8192]{1,0} fusion(f32[2,M,8192]{2,1,0} %a, TYPE[8192,8192]{1,0} %b), kind=kCustom, calls=%within, backend_config={"reification_cost":[{"exec_time_us":900000,"memory_access_time_us":70.0}]}
}
"""  # noqa: E501
CONVOLUTION = """HloModule jit_step

ENTRY %main (x: f32[128,13,13,256], k: f32[384,3,3,256]) -> f32[128,13,13,384] {
  %x = f32[128,13,13,256]{3,2,1,0} parameter(0)
  %k = f32[384,3,3,256]{3,2,1,0} parameter(1)
  ROOT %c = f32[128,13,13,384]{3,2,1,0} custom-call(f32[128,13,13,256]{3,2,1,0} %x, f32[384,3,3,256]{3,2,1,0} %k), window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01fPRECISION, custom_call_target="__cudnn$convForward"
}
"""  # noqa: E501
ALL_BITS = ", operand_precision={highest,highest}"


def program(text: str) -> compiler.Program:
    instructions = hlo.instructions(text)
    return compiler.Program(
        mesh=miniature.mesh(1, 2),
        global_batch=4,
        memory=compiler.Memory(0, 0, 0, 0, 0, 0),
        instructions=instructions,
        collectives=hlo.collectives(instructions, []),
        products=compiler.matrix_products(text),
    )


@pytest.mark.parametrize("assumed", [roofline.IDEAL, roofline.Assumptions()])
def test_step_time_is_that_of_its_bytes(assumed: roofline.Assumptions) -> None:
    timeline = roofline.run(program(PROGRAM), gpu.load("h100"), assumed)
    kernels = (FIRST + SECOND) / MEMORY / assumed.memory
    gather = assumed.host_latency + GATHERED / NVLINK / assumed.links
    exposed = gather - FIRST / MEMORY / assumed.memory
    assert timeline.parts["memory-bound"].bytes == FIRST + SECOND
    assert timeline.parts["memory-bound"].seconds == pytest.approx(kernels)
    assert timeline.exposed == pytest.approx(exposed)
    assert timeline.seconds == pytest.approx(kernels + exposed)


@pytest.mark.parametrize(
    ("dtype", "precision", "peak"),
    [("f32", "", 494e12), ("f32", ALL_BITS, 67e12), ("bf16", "", 989e12)],
)
def test_product_of_triton_takes_the_time_of_its_operations(
    dtype: str, precision: str, peak: float
) -> None:
    text = PRODUCT.replace("M", "8192").replace("TYPE", dtype).replace("PRECISION", precision)
    products = roofline.run(program(text), gpu.load("h100"), roofline.IDEAL).parts["products"]
    assert products.kernels == 1
    assert products.flops == 2 * 8192**3
    assert products.seconds == pytest.approx(2 * 8192**3 / peak)


def test_product_of_few_rows_takes_the_time_of_its_bytes() -> None:
    text = PRODUCT.replace("M", "16").replace("TYPE", "f32").replace("PRECISION", "")
    products = roofline.run(program(text), gpu.load("h100"), roofline.IDEAL).parts["products"]
    touched = 4 * (2 * 16 * 8192 + 8192 * 8192 + 16 * 8192)
    assert products.bytes == touched
    assert products.seconds == pytest.approx(70e-6)  # XLA's estimate, which knows slices
    assert products.seconds < touched / MEMORY


@pytest.mark.parametrize(("precision", "peak"), [("", 494e12), (ALL_BITS, 67e12)])
def test_convolution_with_all_bits_has_no_tensor_cores(precision: str, peak: float) -> None:
    text = CONVOLUTION.replace("PRECISION", precision)
    part = roofline.run(program(text), gpu.load("h100"), roofline.IDEAL).parts["convolutions"]
    assert part.flops == 2 * 128 * 13 * 13 * 384 * 3 * 3 * 256
    assert part.seconds == pytest.approx(part.flops / peak)
