"""``sentstream models``: list, show and verify models."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sentstream.cli.model_card import introduction, license_name, section
from sentstream.cli.options.common import Json
from sentstream.cli.options.completion import complete_model
from sentstream.cli.terminal.messages import harmless_line
from sentstream.cli.terminal.streams import is_terminal, open_console, print_data, print_json
from sentstream.errors import SentstreamError, UsageError, counted

if TYPE_CHECKING:
    from sentstream.bundle import Bundle

models = typer.Typer(no_args_is_help=True, help="List, show and verify models.")

LIST_EXAMPLES = """[bold]Examples[/bold]

sentstream models list

sentstream models list | cut -f 1
"""
SHOW_EXAMPLES = """[bold]Examples[/bold]

sentstream models show tweets

sentstream models show bundles/mine --card
"""
VERIFY_EXAMPLES = """[bold]Examples[/bold]

sentstream models verify tweets

sentstream models verify bundles/* --json
"""

#: Config sections that ``show --full`` prints after the facts about the model.
_SECTIONS = ("text", "limits", "vocabulary", "graph", "provenance", "parity", "metrics", "reference")

Models = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME|PATH",
        help="Names of shipped models, or paths of bundles.",
        show_default=False,
        autocompletion=complete_model,
    ),
]


@models.callback()
def _models() -> None:
    """List, show and verify models."""


@models.command("list", epilog=LIST_EXAMPLES)
def list_(json: Json = False) -> None:
    """List the shipped models, after loading and verifying each.

    Prints a table to a terminal. Elsewhere, prints tab-separated lines: name, version,
    labels, digest, bytes, parameters, words, pairs, and "default" for the model used
    when none is named.

    A broken model is listed with its error, whose exit code the command returns.
    """
    from sentstream.bundle import DEFAULT_MODEL, list_models, load_bundle

    entries: list[dict[str, Any]] = []
    code = 0
    for name in list_models():
        entry: dict[str, Any] = {"name": name, "default": name == DEFAULT_MODEL}
        try:
            bundle = load_bundle(name)
            entry.update(_summary(bundle))
        except SentstreamError as error:
            entry["error"] = str(error)
            code = code or error.exit_code
        entries.append(entry)
    if json:
        print_json(entries)
    elif is_terminal(sys.stdout):
        _print_list(entries)
    else:
        for entry in entries:
            print_data("\t".join(_plain(entry)))
    raise typer.Exit(code)


@models.command(epilog=SHOW_EXAMPLES)
def show(
    model: Annotated[
        str,
        typer.Argument(
            metavar="NAME|PATH",
            help="Name of a shipped model, or path of a bundle.",
            show_default=False,
            autocompletion=complete_model,
        ),
    ],
    full: Annotated[
        bool,
        typer.Option("--full", help="Print everything: text rules, graph, provenance and metrics."),
    ] = False,
    card: Annotated[bool, typer.Option("--card", help="Print only the model card, as Markdown.")] = False,
    json: Json = False,
) -> None:
    """Show a model's labels, accuracy, digest, license and limits.

    --json prints the bundle's config.json with its digest, size and path.
    """
    from sentstream.bundle import load_bundle

    if full + card + json > 1:
        raise UsageError("--full, --card and --json cannot be combined", hint="give only one of them")
    bundle = load_bundle(model)
    if card:
        print_data(_harmless(bundle.card) if is_terminal(sys.stdout) else bundle.card, end="")
    elif json:
        facts = {
            "digest": bundle.digest,
            "size": bundle.size,
            "path": str(bundle.path),
            "config": bundle.config,
        }
        print_json(facts)
    else:
        _print_rows(_all_facts(bundle) if full else _head(bundle))


@models.command(epilog=VERIFY_EXAMPLES)
def verify(model: Models, json: Json = False) -> None:
    """Verify models: run all checks of loading, then open the graph and run it.

    Prints one line per model. The exit code is that of the first error, or 0.
    """
    from sentstream.bundle import load_bundle
    from sentstream.session import Session

    entries: list[dict[str, Any]] = []
    code = 0
    for name in model:
        entry: dict[str, Any] = {"model": name}
        try:
            bundle = load_bundle(name)
            entry.update(ok=True, digest=bundle.digest, provider=Session(bundle).provider)
        except SentstreamError as error:
            entry.update(ok=False, error=str(error), exit_code=error.exit_code)
            code = code or error.exit_code
        entries.append(entry)
        if not json:
            outcome = (
                f"ok {entry['digest']} {entry['provider']}" if entry["ok"] else f"error: {entry['error']}"
            )
            print_data(harmless_line(f"{name}: {outcome}"), flush=True)
    if json:
        print_json(entries)
    raise typer.Exit(code)


def _summary(bundle: Bundle) -> dict[str, Any]:
    """What ``list`` prints about a valid model."""
    vocabulary = bundle.config["vocabulary"]
    parameters = bundle.config["provenance"].get("parameters")
    return {
        "version": bundle.version,
        "labels": list(bundle.labels),
        "digest": bundle.digest,
        "size": bundle.size,
        "parameters": parameters if isinstance(parameters, int) else None,
        "words": vocabulary["words"],
        "pairs": vocabulary["pairs"],
    }


def _plain(entry: dict[str, Any]) -> Iterator[str]:
    """The columns of a line of ``list``."""
    yield entry["name"]
    if "error" in entry:
        yield harmless_line(f"broken: {entry['error']}")
        return
    yield entry["version"]
    yield ",".join(entry["labels"])
    for key in ("digest", "size", "parameters", "words", "pairs"):
        yield "" if entry[key] is None else str(entry[key])
    yield "default" if entry["default"] else ""


def _print_list(entries: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("model", "version", "labels", "digest", box=None, pad_edge=False)
    for name in ("size", "parameters", "words", "pairs"):
        table.add_column(name, justify="right")
    broken: list[dict[str, Any]] = []
    for entry in entries:
        model = Text(entry["name"] + (" (default)" if entry["default"] else ""))
        if "error" in entry:
            table.add_row(model, Text("broken", style="red"))
            broken.append(entry)
            continue
        numbers = [
            "–" if entry[key] is None else f"{entry[key]:,}" for key in ("parameters", "words", "pairs")
        ]
        table.add_row(
            model,
            Text(entry["version"]),
            Text(", ".join(entry["labels"])),
            Text(entry["digest"][:19]),
            Text(f"{entry['size'] / 2**20:.1f} MiB"),
            *map(Text, numbers),
        )
    console = open_console()
    console.print(table)
    for entry in broken:
        console.print(Text(harmless_line(f"{entry['name']}: {entry['error']}"), style="red"), soft_wrap=True)


def _head(bundle: Bundle) -> Iterator[tuple[str, str]]:
    """The main facts, without details of the network."""
    parameters = bundle.config["provenance"].get("parameters")
    vocabulary = bundle.config["vocabulary"]
    yield "model", f"{bundle.name} {bundle.version}"
    if text := introduction(bundle.card):
        yield "about", text
    yield "labels", ", ".join(bundle.labels)
    yield "reads", f"the first {bundle.config['limits']['max_chars']:,} characters of a text"
    yield "knows", f"{counted(vocabulary['words'], 'word')}, {counted(vocabulary['pairs'], 'word pair')}"
    if isinstance(parameters, int):
        yield "parameters", f"{parameters:,}"
    yield "size", f"{bundle.size / 2**20:.1f} MiB"
    yield "digest", bundle.digest
    yield "path", str(bundle.path)
    figures = [
        ("held out in training" if name == "validation" else name, _figures(metrics))
        for name, metrics in bundle.config["metrics"].items()
    ]
    if bundle.reference is not None:
        yield "drift from", str(bundle.reference)
    yield from _titled("measured on", [f"{name}: {words}" for name, words in figures if words])
    terms = license_name(bundle.card)
    yield from _titled("license", [terms] if terms else section(bundle.card, "License", "Data and licenses"))
    yield from _titled("limits", section(bundle.card, "Limits"))
    yield "more", "--card for the model card, --full for everything, --json for scripts"


def _titled(title: str, lines: list[str]) -> Iterator[tuple[str, str]]:
    """Lines, the first one with a title."""
    yield from zip([title, *[""] * len(lines)], lines, strict=False)


def _figures(metrics: Any) -> str:
    """Accuracy, macro-recall with intervals and rows of one data set, as far as the bundle has them."""
    from sentstream.report.words import interval, percent

    if not isinstance(metrics, dict):
        return ""
    rows, words = metrics.get("n"), []
    for key, name in ("accuracy", "accuracy"), ("macro_recall", "macro-recall"):
        if isinstance(metrics.get(key), float):
            words.append(f"{name} {percent(metrics[key])}")
            ends = metrics.get("interval" if key == "accuracy" else f"{key}_interval")
            if isinstance(ends, list) and len(ends) == 2 and all(isinstance(end, float) for end in ends):
                words[-1] += f" ({interval((ends[0], ends[1]))})"
    if words and isinstance(rows, int):
        words.append(counted(rows, "row"))
    return ", ".join(words)


def _all_facts(bundle: Bundle) -> Iterator[tuple[str, str]]:
    """All facts; title lines have no values."""
    facts = {
        "name": bundle.name,
        "version": bundle.version,
        "labels": list(bundle.labels),
        "digest": bundle.digest,
        "size": f"{bundle.size:,} bytes",
        "path": str(bundle.path),
    }
    sections = ((name, bundle.config.get(name, {})) for name in _SECTIONS)
    for title, part in (("model", facts), *sections):
        if part:
            yield title, ""
        for key, value in _facts(part):
            yield f"  {key}", value


def _print_rows(facts: Iterable[tuple[str, str]]) -> None:
    """Print names and values in two columns; text from a bundle cannot control the terminal."""
    rows = [
        (key[: len(key) - len(key.lstrip())] + harmless_line(key), harmless_line(value))
        for key, value in facts
    ]
    if not is_terminal(sys.stdout):
        width = max(len(key) for key, _ in rows)
        for key, value in rows:
            print_data(f"{key:{width}}  {value}".rstrip())
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for key, value in rows:
        table.add_row(Text(key, style="" if key.startswith(" ") else "bold"), Text(value))
    open_console().print(table)


def _facts(section: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """A section of the config, flattened: ``network.width``, ``network.layers.1`` …"""
    for key, value in section.items():
        if isinstance(value, dict) and value:
            yield from _facts(value, f"{prefix}{key}.")
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            for index, item in enumerate(value, start=1):
                yield f"{prefix}{key}.{index}", _word(item)
        else:
            yield prefix + key, _word(value)


def _word(value: Any) -> str:
    """A value for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(map(_word, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_word(item)}" for key, item in value.items()) or "none"
    return "none" if value is None else str(value)


def _harmless(text: str) -> str:
    """A multi-line text without characters that could control a terminal."""
    from sentstream.markup import printable

    return "\n".join(printable(line.expandtabs()) for line in text.split("\n"))
