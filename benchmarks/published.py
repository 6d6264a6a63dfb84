"""Compares published speeds of AlexNet on GPUs with the planner's predictions.

    python -m benchmarks.published

It needs the extra `plan` but no GPU, and takes about three minutes.
"""

import dataclasses
from dataclasses import replace

from ml_collections import ConfigDict

from configs.alexnet import paper
from src.cli.text import table
from src.errors import check_extra
from src.models.presets import TORCHVISION
from src.plan import compiler, gpu, roofline
from src.plan.plan import MODELLED, Plan

# tf_cnn_benchmarks' alexnet_model.py: a single column without normalization.
TF_CNN_BENCHMARKS = replace(
    TORCHVISION,
    towers=1,
    convs={
        **TORCHVISION.convs,
        "conv1": replace(TORCHVISION.convs["conv1"], padding=(0, 3)),
        "conv4": replace(TORCHVISION.convs["conv4"], maps=384),
    },
)


def compare_with_published() -> list[Plan]:
    """A row for each measurement in src/plan/gpus/."""
    rows = []
    for described in map(gpu.load, gpu.known()):
        for measured in described.published:
            config = paper("imagenet2012")
            config.model = ConfigDict(dataclasses.asdict(TF_CNN_BENCHMARKS))
            config.dtype = measured["dtype"]
            config.batch_size = measured["images_per_gpu"] * measured["gpus"]
            devices = compiler.gpus(described, f"1x1x{measured['gpus']}")
            program = compiler.compile_step(config, 1000, devices, described)
            seconds = {
                name: roofline.run(program, described, assumed).seconds
                for name, assumed in [
                    ("modelled", roofline.Assumptions()),
                    ("ideal", roofline.IDEAL),
                ]
            }
            rows.append(
                {
                    "gpu": described.key,
                    "gpus": measured["gpus"],
                    "dtype": measured["dtype"],
                    "images_per_gpu": measured["images_per_gpu"],
                    "published": measured["images_per_second"],
                    **{name: config.batch_size / s for name, s in seconds.items()},
                    "source": measured["source"],
                    "explanation": measured.get("explanation", ""),
                }
            )
    return rows


def format_comparison(rows: list[Plan]) -> str:
    """The rows as a table, with sources and explanations."""
    cells = [["GPUs", "type", "images a GPU", "published", "modelled", "÷", "at peaks", "÷"]]
    for row in rows:
        cells.append(
            [
                f"{row['gpus']} × {row['gpu']}",
                row["dtype"],
                f"{row['images_per_gpu']:,}",
                f"{row['published']:,}",
                f"{row['modelled']:,.0f}",
                f"{row['modelled'] / row['published']:.2f}",
                f"{row['ideal']:,.0f}",
                f"{row['ideal'] / row['published']:.2f}",
            ]
        )
    sources = sorted({f"  {row['gpu']}: {row['source']}" for row in rows})
    explained = [
        f"  {row['gpus']} × {row['gpu']}, {row['dtype']}: {row['explanation']}"
        for row in rows
        if row["explanation"]
    ]
    return "\n".join(
        [
            "AlexNet of tf_cnn_benchmarks, images/s: published, and " + MODELLED.split(":")[0],
            *table(cells, right_from=2),
            "Sources (synthetic data)",
            *sources,
            *(["Why it differs", *explained] if explained else []),
        ]
    )


if __name__ == "__main__":
    check_extra("plan")
    print(format_comparison(compare_with_published()))
