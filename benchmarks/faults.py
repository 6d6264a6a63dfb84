"""Strikes miniature runs with faults at random, and checks that nothing is lost.

    python -m benchmarks.faults --count=1000 [--results=FILE] [--only=NUMBER]

A fault is a signal, a full disk, a damaged file and the like: benchmarks/fault_kinds.py has all.
After each, the same command must end with the parameters and metrics of a run that was not
disturbed, bit for bit, or it must refuse in one line, and end like that once the fault is mended.

The command appends a line of JSON to FILE for each fault, and goes on after the last number there.
`--only` repeats one fault. A fault takes about six seconds on two cores. Only root can fill a disk.
The files of a fault that went wrong stay in WORK/wrong. The runs that faults strike are made once:
remove WORK/states after changing the code.
"""

import argparse
import hashlib
import json
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.fault_kinds import Case
from benchmarks.fault_runs import RESTART, Sandbox

FINE = ("ended alike", "resumed alike", "refused, then alike", "damage told, else alike")
TOLD = ("metrics.jsonl metrics",)  # what a damage may change, if the command says so
LATE = "came too late"
ATTEMPTS = 5


def main() -> None:
    """Strikes, and prints a table of all faults so far."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=0, help="faults to try; 0 only prints")
    parser.add_argument("--only", type=int, help="the number of one fault to repeat")
    parser.add_argument("--results", type=Path, default=Path("results/faults.jsonl"))
    parser.add_argument("--work", type=Path, default=Path("/tmp/faults"), help="a directory")
    flags = parser.parse_args()
    lines = flags.results.read_text().splitlines() if flags.results.exists() else []
    first = 1 + max((json.loads(line)["fault"] for line in lines), default=0)
    numbers = [flags.only] if flags.only else list(range(first, first + flags.count))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if numbers:
        with Sandbox(flags.work.absolute()) as sandbox:
            for number in numbers:
                report = try_fault(sandbox, number)
                print(json.dumps(report), file=sys.stderr, flush=True)
                if not flags.only:
                    with flags.results.open("a") as file:
                        file.write(json.dumps(report) + "\n")
    if flags.results.exists():
        print_table([json.loads(line) for line in flags.results.read_text().splitlines()])


def try_fault(sandbox: Sandbox, number: int) -> dict[str, Any]:
    """Strikes a run, and reports how it came out."""
    started, case = time.monotonic(), Case(sandbox, number)
    what = case.strike()
    history: list[list[int | None]] = []
    outcome = judge(case, history)
    if outcome == "ended alike" and "too late" in what:
        outcome = LATE
    if outcome not in (*FINE, LATE):
        keep(sandbox, number)
    if case.mend:
        case.mend()
    return {
        "fault": number,
        "kind": case.kind,
        "run": f"{case.state}, {case.processes}",
        "what": what,
        "statuses": history,
        "outcome": outcome,
        "seconds": round(time.monotonic() - started, 1),
    }


def judge(case: Case, history: list[list[int | None]]) -> str:
    """Repeats the command until it is done; returns what to say of the whole."""
    assert case.run
    is_refused, told = False, ""
    while True:
        statuses = case.run.wait()
        history.append(statuses)
        told += case.run.output()
        if complaint := case.run.complaint(statuses, case.signals):
            return complaint
        if not any(statuses):
            break
        if len(history) == ATTEMPTS:
            return "does not end"
        if not all(status in RESTART or status < 0 or status > 128 for status in statuses):
            is_refused = True
            if case.is_at_rest and (lost := lost_files(case)):
                return f"lost {lost}"
        if case.mend:
            case.mend()
            case.mend = None
        case.run = case.start()
    if case.mend and not case.is_at_rest:
        case.mend()
        case.mend = None
    evaluations = case.sandbox.now / "run/evaluations"
    if case.state == "stopped" and not any(evaluations.glob("*")) and case.damaged != evaluations:
        return "lost evaluations"
    try:
        difference = case.sandbox.difference(case.processes)
    except Exception as error:
        difference = f"files ({str(error).splitlines()[0][:60]})"
    if difference:
        name = case.damaged.name if case.damaged else ""
        if f"{name} {difference}" in TOLD and name in told:
            return "damage told, else alike"
        return f"differs in {difference}"
    if is_refused:
        return "refused, then alike"
    return "ended alike" if len(history) == 1 else "resumed alike"


def lost_files(case: Case) -> str:
    """The first file that a refusal has removed."""
    now = case.sandbox.now
    state = case.sandbox.work / "states" / f"{case.state}-{case.processes}"
    known = {path.name for path in (state / "run/checkpoints").glob("*")}
    has_trained = any(path.name not in known for path in now.glob("run/checkpoints/*"))
    found = {_digest(path) for path in now.rglob("*") if path.is_file()}
    for path in sorted(state.rglob("*")):
        here = now / path.relative_to(state)
        is_damaged = case.damaged and here.is_relative_to(case.damaged)
        is_old = has_trained and here.is_relative_to(now / "run/checkpoints")
        if path.is_file() and not (here.exists() or is_damaged or is_old or _digest(path) in found):
            return str(path.relative_to(state))
    return ""


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def keep(sandbox: Sandbox, number: int) -> None:
    """Keeps the files of a fault that went wrong."""
    wrong = sandbox.work / "wrong" / str(number)
    shutil.rmtree(wrong, ignore_errors=True)
    shutil.copytree(sandbox.now, wrong, ignore=shutil.ignore_patterns("photos"))
    for log in sandbox.work.glob("log-*.txt"):
        shutil.copy(log, wrong)


def print_table(reports: list[dict[str, Any]]) -> None:
    """Prints the number of faults of each kind, by outcome."""
    counts = Counter((report["kind"], report["outcome"]) for report in reports)
    kinds = sorted({kind for kind, _ in counts})
    outcomes = sorted({outcome for _, outcome in counts}, key=lambda name: (name not in FINE, name))
    print("| fault | tried |", " | ".join(outcomes), "|")
    print("|---" * (len(outcomes) + 2) + "|")
    for kind in [*kinds, "all"]:
        row = [
            sum(n for (k, o), n in counts.items() if kind in (k, "all") and o == outcome)
            for outcome in outcomes
        ]
        print(f"| {kind} | {sum(row)} |", " | ".join(str(n or "") for n in row), "|")


if __name__ == "__main__":
    main()
