"""Parses XLA's text of a compiled step: instructions in order, and collectives."""

import functools
import math
import re
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jaxlib import _hlo  # type: ignore[attr-defined]

BYTES = {"pred": 1, "s8": 1, "u8": 1, "f16": 2, "bf16": 2, "s64": 8, "u64": 8, "f64": 8}  # else 4
SMALL = 4096  # bytes; smaller all-reduces are sums of losses, errors and norms
COLLECTIVES = ["all-gather", "all-reduce", "reduce-scatter", "all-to-all"]
COLLECTIVES += ["collective-permute", "collective-broadcast"]
# Name, results, opcode, operands and attributes, such as
# %x = (f32[4,2]{1,0}, s8[64]{0}) custom-call(f32[4,8]{1,0} %p), metadata={op_name="step/fc6/dot"}
INSTRUCTION = re.compile(
    r"^\s+(?:ROOT )?%(\S+) = (.*?) ([a-z][\w-]*)\((.*?)\)((?:, [a-z_]+=.*)?)$", re.MULTILINE
)


class Array(NamedTuple):
    """The type of an array."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return BYTES.get(self.dtype, 4) * self.size

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
    def tensor(self) -> str:
        """What is communicated, in words."""
        if not self.layers or (self.kind == "all-reduce" and self.bytes < SMALL):
            return "sums: scores, loss, norm"
        first, last = self.layers[0], self.layers[-1]
        prefix = {"all-gather": "maps into", "reduce-scatter": "gradient of maps into"}
        what = prefix.get(self.kind, "gradient of")
        return f"{what} {first if first == last else f'{first} … {last}'}"

    def axis(self, model: int) -> str:
        """The axis of the mesh, of `model` devices a row, along which devices communicate."""
        rows = {device // model for device in self.groups[0]}
        return {1: "towers", len(self.groups[0]): "data"}.get(len(rows), "all")

    @property
    def bytes_sent(self) -> float:
        """Bytes that each device sends around a ring."""
        others = (len(self.groups[0]) - 1) / len(self.groups[0])
        return self.bytes * others * (2 if self.kind == "all-reduce" else 1)


def arrays(text: str) -> list[Array]:
    """All array types in a text, such as `(bf16[128,4096]{1,0}, f32[])`."""
    types = re.findall(r"\b([a-z]\w*)\[([\d,]*)\]", text)
    return [Array(dtype, tuple(_numbers(dimensions))) for dtype, dimensions in types]


def program_text(compiled: jax.stages.Compiled) -> str:
    """The text of a compiled function, with the types of operands."""
    options = _hlo.HloPrintOptions()
    options.print_operand_shape = True
    (module,) = compiled.runtime_executable().hlo_modules()  # type: ignore[union-attr]
    return module.to_string(options)


def instructions(text: str) -> list[Instruction]:
    """The instructions of the entry computation, in execution order."""
    start = text.index("\nENTRY ")
    parsed = []
    for match in INSTRUCTION.finditer(text, start, text.index("\n}", start)):
        name, results, opcode, operands, attributes = match.groups()
        types, names = arrays(operands), re.findall(r"%([\w.-]+)", operands)
        op_name = "".join(re.findall(r'op_name="([^"]*)"', attributes))  # at most one
        parsed.append(Instruction(name, opcode, arrays(results), types, names, attributes, op_name))
    return parsed


def collectives(program: list[Instruction], layers: list[str]) -> list[Collective]:
    """The collectives between devices; XLA's sums over groups of one device are left out."""
    by_name = {instruction.name: instruction for instruction in program}

    @functools.cache
    def layers_of(name: str) -> set[str]:
        """The layers that an instruction's scopes name, else those that its operands come from."""
        named = set(layers) & set(by_name[name].op_name.split("/"))
        return named or set().union(*map(layers_of, by_name[name].operand_names))

    result = []
    for instruction in program:
        kind = instruction.opcode.removesuffix("-start")
        groups = replica_groups(instruction.attributes) if kind in COLLECTIVES else []
        if groups and len(groups[0]) > 1:
            names = sorted(layers_of(instruction.name), key=layers.index)
            result.append(Collective(instruction.name, kind, instruction.operands, groups, names))
    return result


def replica_groups(attributes: str) -> list[list[int]]:
    """The groups of devices that communicate, from any of XLA's three notations."""
    if match := re.search(r"replica_groups=\{(\{[\d,{}]+\})\}", attributes):  # {{0,1},{2,3}}
        return [_numbers(group) for group in match[1].split("},{")]
    if match := re.search(r"replica_groups=(\[[\d,]+\])<=(\[[\d,]+\](?:T\([\d,]+\))?)", attributes):
        return _iota(match[2]).reshape(_numbers(match[1])).tolist()  # [2,2]<=[2,2]T(1,0)
    # mesh['a'=2,'b'=8], device_ids=([8,2]T(1,0)) {'a'}
    pattern = r"replica_groups=mesh\[(.*?)\](?:, device_ids=\((.*?\])(T\(.*?\))?\))? \{(.*?)\}"
    if not (match := re.search(pattern, attributes)):
        raise ValueError(f"unknown notation of replica groups: {attributes[:120]}")
    sizes = {axis: int(size) for axis, size in re.findall(r"'(\w+)'=(\d+)", match[1])}
    devices = _iota((match[2] or f"[{math.prod(sizes.values())}]") + (match[3] or ""))
    over = [list(sizes).index(axis) for axis in re.findall(r"'(\w+)'", match[4])]
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
    backward = ["transpose(" in i.op_name and i.opcode != "parameter" for i in program]
    start = [*backward, True].index(True)
    # The buffers of an instruction's results: name, index, and size in bytes if computed forward.
    buffers: dict[str, list[tuple[str, int, int]]] = {}
    needed = set()
    for i, instruction in enumerate(program):
        name, is_kept = instruction.name, instruction.opcode != "parameter" and i < start
        operands = [buffer for operand in instruction.operand_names for buffer in buffers[operand]]
        if i >= start:
            needed.update(operands)
        if instruction.opcode == "get-tuple-element":
            index = int(re.findall(r"index=(\d+)", instruction.attributes)[0])
            buffers[name] = operands[index : index + 1]
        elif instruction.opcode in ("bitcast", "tuple"):
            buffers[name] = operands
        else:
            sizes = [array.bytes * is_kept for array in instruction.results]
            buffers[name] = [(name, index, size) for index, size in enumerate(sizes)]
    return sum(size for *_, size in needed)
