"""`llmthrift batch`: jobs for providers' batch APIs, from files with one JSON object on each line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from llmthrift_core.attribution import attribute
from llmthrift_core.batching.job import JobStatus
from llmthrift_core.cli.options import Prices, Url, console, opened
from llmthrift_core.cli.output import AsCsv, AsJson, end, show, show_table, write_json, write_rows
from llmthrift_core.display import counted
from llmthrift_core.texts import json_line
from llmthrift_core.thrift import Thrift

batch = typer.Typer(no_args_is_help=True, help="Requests at half price, through the providers' batch APIs.")

Name = Annotated[str, typer.Argument(metavar="JOB", help="The job's id or name")]
Wait = Annotated[bool, typer.Option("--wait", help="Until the job has ended, with a progress bar")]
Poll = Annotated[float, typer.Option(help="Seconds between two questions to the provider", min=0.0)]


@batch.command()
def submit(
    file: Annotated[
        Path, typer.Argument(help="JSON lines: texts, bodies with messages, or lines of a provider's batch file; - reads the input")
    ],
    model: Annotated[str, typer.Option(help="The model's name, or PROVIDER:NAME")],
    provider: Annotated[str | None, typer.Option(help="openai, anthropic or google; default: by the model")] = None,
    name: Annotated[str | None, typer.Option(help="Of the job, for ever: again under the same name is the same job")] = None,
    user: Annotated[str | None, typer.Option(help="Whom the requests are for")] = None,
    feature: Annotated[str | None, typer.Option(help="What they are for")] = None,
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Ask the exact cache first, and keep the answers")] = True,
    max_attempts: Annotated[int, typer.Option(help="How often a request is sent that expired or met a passing error", min=1)] = 3,
    wait: Wait = False,
    poll_seconds: Poll = 15.0,
    url: Url = None,
    price_file: Prices = None,
) -> None:
    """Send a file of requests. The provider's key comes from its usual environment variable."""
    requests = list(_lines(file))
    with Thrift(url, prices=price_file) as thrift, attribute(user=user, feature=feature):
        job = thrift.batches.submit(requests, model=model, provider=provider, name=name, cache=cache, max_attempts=max_attempts)
        typer.echo(job.id)
        if wait:
            _watch(thrift, job.id, poll_seconds)


@batch.command()
def status(job: Name, wait: Wait = False, poll_seconds: Poll = 15.0, as_json: AsJson = False, url: Url = None) -> None:
    """How a job stands. Goes on with it: sends what was not sent, and takes what has come."""
    with opened(url) as thrift:
        found = _watch(thrift, job, poll_seconds) if wait else thrift.batches.status(job)
    write_json(found.to_dict()) if as_json else show(found.to_text())


@batch.command("list")
def list_jobs(
    only_open: Annotated[bool, typer.Option("--open", help="Only those that have not ended")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = None,
) -> None:
    """Every job, as the ledger's database knows it."""
    with opened(url) as thrift:
        found = thrift.batches.jobs(only_open=only_open)
    if not write_rows([each.to_dict() for each in found], as_json=as_json, as_csv=as_csv):
        _show_jobs(found)
    end(found)


def _show_jobs(found: Sequence[JobStatus]) -> None:
    if not found:
        show("There are no jobs.")
        return
    rows = [
        [each.job.id, each.job.name or "", each.job.model, each.state, each.job.requests, each.answered, each.open, each.cost_usd]
        for each in found
    ]
    show_table(["job", "name", "model", "state", "requests", "answered", "open", "cost"], rows)


@batch.command()
def results(
    job: Name,
    out: Annotated[Path | None, typer.Option(help="A file to write; default: the output")] = None,
    wait: Wait = False,
    poll_seconds: Poll = 15.0,
    url: Url = None,
) -> None:
    """The results, one JSON object on each line, in the order of the requests where the job has ended."""
    with opened(url) as thrift:
        if wait:
            _watch(thrift, job, poll_seconds)
        with _writing(out) as write:
            found = thrift.batches.results(job, wait=False)
            count = 0
            for count, result in enumerate(found, start=1):  # noqa: B007 - the last number is how many there were
                write(json_line(result.to_dict()))
        left = thrift.batches.status(job).open
    if out is not None:
        console.print(f"wrote {count:,} results to {out}", markup=False)
    if left:
        typer.echo(f"{counted(left, 'request is', 'requests are')} open", err=True)


@batch.command()
def cancel(job: Name, url: Url = None) -> None:
    """Give up what is open. What the provider has done by then is billed, and its results are kept."""
    with opened(url) as thrift:
        show(thrift.batches.cancel(job).to_text())


def _watch(thrift: Thrift, job: str, poll_seconds: float) -> JobStatus:
    """Follow a job to its end, with a progress bar on the error output."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    last: list[JobStatus] = []
    with Progress(*columns, console=type(console)(stderr=True), transient=True) as progress:
        task = progress.add_task("requests", total=None)

        def show(status: JobStatus) -> None:
            last[:] = [status]
            done = min(status.done + status.done_at_provider, status.job.requests)
            progress.update(task, total=status.job.requests, completed=done, description=status.state)

        for _ in thrift.batches.results(job, poll_seconds=poll_seconds, on_progress=show):
            pass
    return last[0]


def _lines(file: Path) -> Iterator[Any]:
    try:
        text = sys.stdin.read().removeprefix("\ufeff") if str(file) == "-" else file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"cannot read {file}: {error}") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise typer.BadParameter(f"line {number} of {file} is no JSON: {error}") from None


@contextmanager
def _writing(out: Path | None) -> Iterator[Callable[[str], object]]:
    if out is None:
        yield typer.echo
        return
    with out.open("w", encoding="utf-8") as opened_file:
        yield lambda line: opened_file.write(line + "\n")
