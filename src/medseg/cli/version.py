"""`medseg version`: states of a data set, made, compared, brought back and sent to other places."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.console import EXIT_FAILED, Console, reporting

if TYPE_CHECKING:
    from medseg.bundle import Bundle
    from medseg.continual.standing import Standing
    from medseg.continual.version_diff import VersionDiff
    from medseg.continual.versioned import VersionedData

app = typer.Typer(
    help="Versions of a data set: make, list, compare, bring back, send and fetch.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Data = Annotated[Path, typer.Option("--data", help="Folder of the data set.")]
_Json = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]
_Verify = Annotated[
    bool,
    typer.Option("--verify", help="Read every byte, whatever sizes and times of files say."),
]
_Remote = Annotated[str, typer.Argument(help="Name of a remote; the first one where not given.")]
_HERE = Path()
_LISTED = 20


@app.command("init")
def init(
    data: _Data = _HERE,
    copy_from: Annotated[
        Path | None,
        typer.Option(help="A data set whose images and labels are copied into the folder first."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Begin versions in the folder of a data set, or in an empty one to pull into."""
    with reporting(as_json=as_json) as console:
        from medseg.continual.versioned import VersionedData

        if copy_from is not None:
            from medseg.dataset.copies import copy_dataset
            from medseg.dataset.importers import open_dataset

            described = open_dataset(copy_from, progress=console.progress)
            copy_dataset(described, data, progress=console.progress)
        kept = VersionedData.create(data, progress=console.progress)
        console.say(f"Versions of {kept.root} are kept there, by git and DVC.")
        console.say('Next: medseg version commit -m "why"')
        console.result({"data": str(kept.root), "versions": len(kept.versions())})


@app.command("add")
def add(data: _Data = _HERE, verify: _Verify = False, as_json: _Json = False) -> None:
    """Take the files at hand up by content, and say what the next version would change."""
    with reporting(as_json=as_json) as console:
        changes = _opened(data).add(verify=verify, progress=console.progress)
        _show(console, changes)
        console.result(changes.model_dump(mode="json"))


@app.command("commit")
def commit(
    message: Annotated[str, typer.Option("-m", "--message", help="Why this version is made.")],
    data: _Data = _HERE,
    verify: _Verify = False,
    as_json: _Json = False,
) -> None:
    """Make a version of the files at hand; where nothing changed, it is the latest one."""
    with reporting(as_json=as_json) as console:
        kept = _opened(data)
        before = len(kept.versions())
        version, changes = kept.commit(message, verify=verify, progress=console.progress)
        _show(console, changes)
        made = len(kept.versions()) > before
        digest = kept.manifest(version).digest
        if made:
            console.say(f"{version.name} ({version.commit[:10]}): {version.message}")
        else:
            console.say(f"The files are those of {version.name}; no version was made.")
        console.result(
            {
                "version": version.name, "commit": version.commit, "digest": digest, "made": made,
                "changes": changes.model_dump(mode="json"),
            }
        )  # fmt: skip


@app.command("list")
def list_versions(data: _Data = _HERE, as_json: _Json = False) -> None:
    """List all versions, the first one first, and which of them the files at hand are."""
    with reporting(as_json=as_json) as console:
        kept = _opened(data)
        manifests = [(one, kept.manifest(one)) for one in kept.versions()]
        is_there = (kept.root / "medseg-dataset.json").is_file()
        here = kept.now(progress=console.progress).digest if is_there else ""
        facts = [
            {
                "version": one.name, "commit": one.commit, "digest": manifest.digest,
                "created": one.created, "author": one.author, "message": one.message,
                "cases": len(manifest.cases), "at_hand": manifest.digest == here,
            }
            for one, manifest in manifests
        ]  # fmt: skip
        console.table(
            f"Versions of {kept.root}",
            ["version", "commit", "made", "cases", "why", ""],
            [
                [
                    one.name, one.commit[:10], one.created[:16].replace("T", " "),
                    str(len(manifest.cases)), one.message,
                    "at hand" if manifest.digest == here else "",
                ]
                for one, manifest in manifests
            ],
        )  # fmt: skip
        if is_there and not any(one["at_hand"] for one in facts):
            console.say("The files at hand are in no version: medseg version diff latest now")
        console.result({"data": str(kept.root), "versions": facts})


@app.command("diff")
def diff(
    before: Annotated[str, typer.Argument(help="v3, a commit, a digest, latest or now.")],
    after: Annotated[str, typer.Argument(help="The same; now means the files at hand.")] = "now",
    data: _Data = _HERE,
    verify: _Verify = False,
    as_json: _Json = False,
) -> None:
    """Say which cases were added, removed and relabelled, and what new ones are like."""
    with reporting(as_json=as_json) as console:
        changes = _opened(data).diff(before, after, verify=verify, progress=console.progress)
        _show(console, changes)
        console.result(changes.model_dump(mode="json"))


@app.command("checkout")
def checkout(
    version: Annotated[str, typer.Argument(help="v3, a commit, a digest or latest.")],
    data: _Data = _HERE,
    force: Annotated[
        bool, typer.Option("--force", help="Lose changes that are in no version.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Make the files at hand those of a version; versions after it stay."""
    with reporting(as_json=as_json) as console:
        found = _opened(data).check_out(version, force=force, progress=console.progress)
        console.say(f"The files in {data} are those of {found.name} ({found.commit[:10]}).")
        console.result({"version": found.name, "commit": found.commit})


@app.command("remote")
def remote(
    name: Annotated[str | None, typer.Argument(help="Name of a remote to add or move.")] = None,
    address: Annotated[
        str | None, typer.Argument(help="A folder, ssh://HOST/PATH or s3://BUCKET/PATH.")
    ] = None,
    data: _Data = _HERE,
    as_json: _Json = False,
) -> None:
    """List the remotes, or name one, which becomes the first."""
    if (name is None) != (address is None):
        raise typer.BadParameter("give a name and an address, or neither")
    with reporting(as_json=as_json) as console:
        kept = _opened(data)
        if name is not None and address is not None:
            kept.store.add_remote(name, address)
        remotes = kept.store.remotes()
        console.table("Remotes", ["name", "address"], [list(one) for one in remotes.items()])
        console.result({"remotes": remotes})


@app.command("push")
def push(name: _Remote = "", data: _Data = _HERE, as_json: _Json = False) -> None:
    """Send all versions to a remote."""
    with reporting(as_json=as_json) as console:
        from medseg.continual.sharing import push as send

        kept = _opened(data)
        used = send(kept, name, progress=console.progress)
        latest = kept.versions()[-1].name
        console.say(f"{used} holds all versions up to {latest}.")
        console.result({"remote": used, "latest": latest})


@app.command("pull")
def pull(name: _Remote = "", data: _Data = _HERE, as_json: _Json = False) -> None:
    """Fetch the versions of a remote; the files at hand become those of the latest one."""
    with reporting(as_json=as_json) as console:
        from medseg.continual.sharing import pull as fetch

        kept = _opened(data)
        new = fetch(kept, name, progress=console.progress)
        latest = kept.versions()[-1].name
        console.say(f"{len(new)} new versions; the files in {data} are those of {latest}.")
        console.result({"new": [one.name for one in new], "latest": latest})


@app.command("show")
def show(
    bundle: Annotated[str, typer.Argument(help="Name of a bundle in the box, or its folder.")],
    data: _Data = _HERE,
    verify: _Verify = False,
    as_json: _Json = False,
) -> None:
    """Find the version that a bundle was trained on, and say whether it is still at hand."""
    with reporting(as_json=as_json) as console:
        from medseg.bundle import load_bundle
        from medseg.continual.standing import standing_of

        model = load_bundle(bundle)
        kept = _opened(data)
        standing = standing_of(kept, model.provenance, verify=verify, progress=console.progress)
        matches = standing.matches
        if standing.version is None:
            matches = _explain_unknown(console, kept, model, standing)
        else:
            found = standing.version
            console.say(
                f"{model.identity} was trained on {found.name} ({found.commit[:10]}, "
                f"{found.created[:10]}): {found.message}"
            )
            _say_cases(console, "No longer at hand", standing.missing)
            _say_cases(console, "Changed since", standing.changed)
            if matches:
                console.say("All cases that it learned from are at hand as they were.")
        console.result(
            {
                "bundle": model.identity, "data_version": standing.named,
                "version": standing.version.name if standing.version else None,
                "missing": list(standing.missing), "changed": list(standing.changed),
                "matches": matches,
            }
        )  # fmt: skip
        if not matches:
            raise typer.Exit(EXIT_FAILED)


def _explain_unknown(
    console: Console, kept: "VersionedData", model: "Bundle", standing: "Standing"
) -> bool:
    """Say what is known of a bundle's data; whether the data at hand have its fingerprint."""
    if standing.named:
        console.say(
            f"{model.identity} was trained on version {standing.named[:12]}, which is not among "
            f"those of {kept.root}."
        )
        return False
    from medseg.dataset.fingerprint import take_fingerprint

    fingerprint = take_fingerprint(kept.description(), progress=console.progress)
    same = fingerprint.data_hash == model.provenance.data_hash
    console.say(
        f"{model.identity} names no version. The fingerprint of its data is "
        f"{'that' if same else 'not that'} of the data at hand."
    )
    return same


def _opened(data: Path) -> "VersionedData":
    from medseg.continual.versioned import VersionedData

    return VersionedData(data)


def _show(console: Console, changes: "VersionDiff") -> None:
    """The differences, for people."""
    console.say(f"{changes.before} -> {changes.after}")
    _say_cases(console, "Added", changes.added)
    _say_cases(console, "Removed", changes.removed)
    _say_cases(console, "Other images", changes.reimaged)
    for sentence in changes.renamed:
        console.say(sentence)
    if changes.relabelled:
        console.say(f"Relabelled: {len(changes.relabelled)}")
        for one in changes.relabelled[:_LISTED]:
            console.say(f"  {one.sentence}")
        if len(changes.relabelled) > _LISTED:
            console.say(f"  and {len(changes.relabelled) - _LISTED} more (--json lists all)")
    for fault in changes.faulty:
        console.say(f"Cannot be read: {fault.case}: {fault.what}")
    moved = [shift for shift in changes.shifts if shift.moved]
    if changes.shifts and not changes.is_empty:
        console.say(
            "New and changed cases differ from the earlier ones in:"
            if moved
            else "New and changed cases are like the earlier ones."
        )
    for shift in moved:
        console.say(f"  {shift.sentence}")
    if changes.is_empty and not changes.faulty:
        console.say("Nothing differs.")


def _say_cases(console: Console, what: str, cases: tuple[str, ...]) -> None:
    if cases:
        shown = ", ".join(cases[:_LISTED]) + ", ..." * (len(cases) > _LISTED)
        console.say(f"{what}: {len(cases)} ({shown})")
