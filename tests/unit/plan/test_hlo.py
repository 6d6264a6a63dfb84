"""What is read from a compiled program's text."""

import pytest

from src.plan import hlo


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("replica_groups={{0,1},{2,3}}, dimensions={1}", [[0, 1], [2, 3]]),
        ("replica_groups={{0}}, x", [[0]]),
        ("replica_groups=[2,3]<=[6], x", [[0, 1, 2], [3, 4, 5]]),
        ("replica_groups=[2,3]<=[3,2]T(1,0), x", [[0, 2, 4], [1, 3, 5]]),
        ("replica_groups=mesh['axis_0'=2,'axis_1'=2] {'axis_1'}, x", [[0, 1], [2, 3]]),
        ("replica_groups=mesh['axis_0'=2,'axis_1'=2] {'axis_0'}, x", [[0, 2], [1, 3]]),
        (
            "replica_groups=mesh['a'=2,'b'=1,'c'=3], device_ids=([3,2]T(1,0)) {'a'}, x",
            [[0, 1], [2, 3], [4, 5]],
        ),
    ],
)
def test_replica_groups_parses_all_notations(text: str, groups: list[list[int]]) -> None:
    assert hlo.replica_groups(text) == groups


PROGRAM = """HloModule jit_step

%inner (a: f32[2]) -> f32[2] {
  ROOT %a = f32[2]{0} parameter(0)
}

ENTRY %main (p: f32[4,8], q: f32[8,2]) -> f32[4,4] {
  %p = f32[4,8]{1,0} parameter(0)
  %x = (f32[4,2]{1,0}, s8[64]{0}) custom-call(f32[4,8]{1,0} %p, /*index=1*/f32[8,2]{1,0} %q), metadata={op_name="jit(step)/jvp()/fc6/dot"}
  %y = f32[4,2]{1,0} get-tuple-element((f32[4,2]{1,0}, s8[64]{0}) %x), index=0
  %s = (f32[4,2]{1,0}, f32[4,4]{1,0}) all-gather-start(f32[4,2]{1,0} %y), replica_groups={{0,1}}, dimensions={1}
  %w = f32[3]{0} fusion(f32[4,8]{1,0} %p), kind=kLoop
  %d = f32[4,4]{1,0} all-gather-done((f32[4,2]{1,0}, f32[4,4]{1,0}) %s)
  %g = f32[4,4]{1,0} fusion(f32[4,4]{1,0} %d), metadata={op_name="jit(step)/transpose(jvp())/fc7/mul"}
  ROOT %z = f32[4,4]{1,0} fusion(f32[4,4]{1,0} %g, f32[3]{0} %w, f32[4,2]{1,0} %y), metadata={op_name="jit(step)/transpose(jvp())/fc6/mul"}
}
"""  # noqa: E501


def test_instructions_parses_the_entry_computation_in_order() -> None:
    program = hlo.instructions(PROGRAM.replace("%q)", "%p)"))
    assert [i.name for i in program] == ["p", "x", "y", "s", "w", "d", "g", "z"]
    assert program[1].results == [hlo.Array("f32", (4, 2)), hlo.Array("s8", (64,))]
    assert program[1].operand_names == ["p", "p"]
    (collective,) = hlo.collectives(program, ["fc6", "fc7"])
    assert collective.layers == ["fc6"]
    assert (collective.bytes, collective.bytes_sent) == (64, 32)


def test_kept_for_backward_counts_each_buffer_once() -> None:
    program = hlo.instructions(PROGRAM.replace("%q)", "%p)"))
    assert hlo.kept_for_backward(program) == 4 * (4 * 4 + 3 + 4 * 2)
