"""Share of the held-out questions that a served model answers exactly as expected.

    export MODELYARD_API_KEY=my_…
    python evaluate.py --base-url http://127.0.0.1:8080/v1 --model support

Works with any address that speaks OpenAI; greedy decoding; needs the `openai` package.
"""

import argparse
import json
import os
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai

HERE = Path(__file__).parent


def right(client: openai.OpenAI, model: str, row: dict[str, Any]) -> bool:
    """Whether the whole answer is the expected one, blanks apart."""
    answer = client.chat.completions.create(
        model=model, messages=row["messages"], temperature=0, max_tokens=64
    )
    text = answer.choices[0].message.content or ""
    return " ".join(text.split()) == " ".join(row["expected"].split())


def accuracies(client: openai.OpenAI, model: str, rows: list[dict[str, Any]]) -> dict[str, float]:
    """By split, and `total`."""
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda row: right(client, model, row), rows))
    groups: dict[str, list[bool]] = defaultdict(list)
    for row, result in zip(rows, results, strict=True):
        groups["total"].append(result)
        groups[row["split"]].append(result)
    return {name: sum(group) / len(group) for name, group in groups.items()}


def main() -> None:
    """Ask and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", default="http://127.0.0.1:8080/v1")
    parser.add_argument("--api-key", default=os.environ.get("MODELYARD_API_KEY", ""))
    parser.add_argument("--model", default="support")
    parser.add_argument("--data", type=Path, default=HERE / "heldout.jsonl")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.data.read_text(encoding="utf-8").splitlines()]
    client = openai.OpenAI(base_url=options.base_url, api_key=options.api_key or "none")
    found = accuracies(client, options.model, rows)
    if options.output == "json":
        json.dump(found, sys.stdout)
        return
    for name, share in found.items():
        print(f"{name:10} {share:6.1%}")


if __name__ == "__main__":
    main()
