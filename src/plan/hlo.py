"""Parses XLA's text of a scheduled program: instructions in order, and collectives."""

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

BYTES = {"pred": 1, "s8": 1, "u8": 1, "f16": 2, "bf16": 2, "s32": 4, "u32": 4, "f32": 4}
BYTES |= {"s64": 8, "u64": 8, "f64": 8}
KINDS = "all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute|collective-broadcast"


class Array(NamedTuple):
    """The type of an array."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return BYTES.get(self.dtype, 4) * math.prod(self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Instruction:
    """One line of the program."""

    name: str
    opcode: str
    results: list[Array]
    operands: list[Array]
    operand_names: list[str]
    attributes: str
    op_name: str  # the path of Python scopes, "" if unknown


@dataclass(frozen=True)
class Collective:
    """A communication between devices at one point of the program."""

    name: str
    kind: str
    operands: list[Array]  # of one device
    groups: list[list[int]]  # of devices
    layers: list[str]  # that the operands belong to

    @property
    def bytes(self) -> int:
        """The size of a device's input or output, whichever is larger."""
        size = sum(array.bytes for array in self.operands)
        return size * len(self.groups[0]) if self.kind == "all-gather" else size

    @property
    def bytes_sent(self) -> float:
        """Bytes that each device sends around a ring."""
        others = (len(self.groups[0]) - 1) / len(self.groups[0])
        return self.bytes * others * (2 if self.kind == "all-reduce" else 1)


def arrays(text: str) -> list[Array]:
    """All array types in a text, such as `(bf16[128,4096]{1,0}, f32[])`."""
    return [
        Array(dtype, tuple(map(int, dims.split(","))) if dims else ())
        for dtype, dims in re.findall(r"\b([a-z]\w*)\[([\d,]*)\]", text)
    ]


def instructions(text: str) -> list[Instruction]:
    """The instructions of the entry computation, in their order of execution."""
    entry = text[text.index("\nENTRY ") :]
    parsed = []
    for line in entry[: entry.index("\n}")].splitlines():
        match = re.match(r"\s+(?:ROOT )?%(\S+) = (.*?) ([a-z][\w-]*)\((.*)", line)
        if match:
            name, results, opcode, rest = match.groups()
            inside = rest[: _closing(rest)]
            op_name = re.search(r'op_name="([^"]*)"', rest)
            parsed.append(
                Instruction(
                    name,
                    opcode,
                    arrays(results),
                    arrays(inside),
                    re.findall(r"%([\w.-]+)", inside),
                    rest[len(inside) :],
                    op_name[1] if op_name else "",
                )
            )
    return parsed


def _closing(text: str) -> int:
    depth = 1
    for i, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if not depth:
            return i
    raise ValueError(f"an instruction without a closing parenthesis: {text[:80]}")


def collectives(program: list[Instruction], layers: list[str]) -> list[Collective]:
    """The collectives between devices, without XLA's sums over groups of one."""
    by_name = {instruction.name: instruction for instruction in program}

    def layers_of(instruction: Instruction) -> set[str]:
        if instruction.op_name:
            return set(layers) & set(instruction.op_name.split("/"))
        return {layer for name in instruction.operand_names for layer in layers_of(by_name[name])}

    result = []
    for instruction in program:
        if match := re.fullmatch(rf"({KINDS})(-start)?", instruction.opcode):
            groups = replica_groups(instruction.attributes)
            if len(groups[0]) > 1:
                names = sorted(layers_of(instruction), key=layers.index)
                result.append(
                    Collective(instruction.name, match[1], instruction.operands, groups, names)
                )
    return result


def replica_groups(attributes: str) -> list[list[int]]:
    """The groups of devices that communicate, from any of XLA's three notations."""
    if match := re.search(r"replica_groups=\{(\{[\d,{}]+\})\}", attributes):  # {{0,1},{2,3}}
        return [[int(i) for i in g.split(",")] for g in re.findall(r"\{([\d,]+)\}", match[1])]
    if match := re.search(r"replica_groups=(\[[\d,]+\])<=(\[[\d,]+\](?:T\([\d,]+\))?)", attributes):
        return _iota(match[2]).reshape(_numbers(match[1])).tolist()  # [2,2]<=[2,2]T(1,0)
    # mesh['a'=2,'b'=8], device_ids=([8,2]T(1,0)) {'a'}
    pattern = r"replica_groups=mesh\[(.*?)\](?:, device_ids=\((.*?\])(T\(.*?\))?\))? \{(.*?)\}"
    if not (match := re.search(pattern, attributes)):
        raise ValueError(f"unknown notation of replica groups: {attributes[:120]}")
    sizes = {axis: int(size) for axis, size in re.findall(r"'(\w+)'=(\d+)", match[1])}
    axes = list(sizes)
    devices = _iota((match[2] or f"[{math.prod(sizes.values())}]") + (match[3] or ""))
    over = [axes.index(axis) for axis in re.findall(r"'(\w+)'", match[4])]
    mesh = np.moveaxis(devices.reshape(list(sizes.values())), over, range(-len(over), 0))
    return mesh.reshape(-1, math.prod(mesh.shape[-len(over) :])).tolist()


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def _iota(text: str) -> np.ndarray:
    """[8,2]T(1,0): the numbers 0 to 15, as 8 × 2, transposed."""
    shape, _, order = text.partition("T")
    numbers = np.arange(math.prod(_numbers(shape))).reshape(_numbers(shape))
    return numbers.transpose(_numbers(order)) if order else numbers


def kept_for_backward(program: list[Instruction]) -> int:
    """Bytes that the forward pass computes and the backward pass reads."""
    backward = [
        i
        for i, instruction in enumerate(program)
        if "transpose(" in instruction.op_name and instruction.opcode != "parameter"
    ]
    begins = min(backward, default=len(program))
    buffers: dict[str, list[int]] = {}  # indices in `sizes` by the name of an instruction
    sizes: list[int] = []
    needed: set[int] = set()
    for i, instruction in enumerate(program):
        operands = [buffer for name in instruction.operand_names for buffer in buffers[name]]
        if i >= begins:
            needed.update(operands)
        if instruction.opcode == "get-tuple-element":
            index = re.search(r"index=(\d+)", instruction.attributes)
            buffers[instruction.name] = operands[int(index[1]) :][:1] if index else operands
        elif instruction.opcode in ("bitcast", "tuple"):
            buffers[instruction.name] = operands
        else:
            kept = instruction.opcode != "parameter" and i < begins
            start = len(sizes)
            sizes += [array.bytes * kept for array in instruction.results]
            buffers[instruction.name] = list(range(start, len(sizes)))
    return sum(sizes[buffer] for buffer in needed)
