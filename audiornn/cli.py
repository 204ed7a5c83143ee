"""The `audiornn` command. Nothing heavy is imported before a command needs it."""

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from audiornn import __version__
from audiornn.errors import AudioRNNError


def parser() -> argparse.ArgumentParser:
    """The command line, all commands with their options."""
    top = argparse.ArgumentParser(
        prog="audiornn",
        description="Recurrent networks that predict raw PCM audio sample by sample. The pipeline itself is run by "
        "`dvc repro`; these commands look at its parts.",
    )
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    inspect = commands.add_parser(
        "inspect",
        help="write recordings as they are after each processing step",
        description="Write each recording as wav after each processing step (read, resampled, emphasised, decoded), "
        "and print the signal-to-noise ratio of the codec. Settings come from params.yaml unless they are given.",
    )
    inspect.add_argument("file", nargs="+", metavar="FILE", help="a recording of any kind")
    inspect.add_argument("--output", required=True, metavar="DIR", help="gets a folder for each recording")
    inspect.add_argument("--params", metavar="FILE", help="default: params.yaml, if it exists")
    inspect.add_argument("--sample-rate", type=int, metavar="HZ", help="instead of resample.sample_rate")
    inspect.add_argument("--highpass-hz", type=float, metavar="HZ", help="instead of resample.highpass_hz")
    inspect.add_argument("--preemphasis", type=float, metavar="A", help="instead of encode.preemphasis")
    inspect.add_argument("--json", action="store_true", help="print a JSON list instead of text")
    inspect.set_defaults(run=run_inspect)

    ui = commands.add_parser("ui", help="open the MLflow UI on the store of this folder, on 127.0.0.1")
    ui.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    ui.add_argument("--port", type=int, default=5000, help="default: %(default)s")
    ui.set_defaults(run=run_ui)

    summary = commands.add_parser("summary", help="what the last pipeline run in this folder reached, where to listen")
    summary.set_defaults(run=run_summary)
    return top


def run_inspect(arguments: argparse.Namespace) -> None:
    """`audiornn inspect`."""
    from audiornn import inspection, params

    file = arguments.params or ("params.yaml" if Path("params.yaml").exists() else None)
    read = params.load(file) if file else params.Params()
    given = {"sample_rate": arguments.sample_rate, "highpass_hz": arguments.highpass_hz}
    resample = params.validate(
        params.Resample,
        read.resample.model_dump() | {key: value for key, value in given.items() if value is not None},
        "command line",
    )
    preemphasis = read.encode.preemphasis if arguments.preemphasis is None else arguments.preemphasis
    encode = params.validate(params.Encode, {"preemphasis": preemphasis}, "command line")
    results = []
    for path, name in zip(arguments.file, inspection.folder_names(arguments.file), strict=True):
        result = inspection.inspect(
            path, Path(arguments.output) / name, resample.sample_rate, resample.highpass_hz, encode.preemphasis
        )
        results.append(result)
        if not arguments.json:
            print(
                f"{path}: {result['seconds']:.2f} s, {result['rate']} Hz, {result['channels']} channels -> "
                f"{result['sample_rate']} Hz; SNR {_db(result['snr_db'])}, {_db(result['snr_high_db'])} above "
                f"{result['sample_rate'] // 4} Hz; clipped {result['clipped_share']:.2%}; "
                f"entropy of a code {result['code_entropy_bits']:.2f} bits"
            )
            for step, wav in result["steps"].items():
                print(f"  {step:<10} {wav}")
    if arguments.json:
        print(json.dumps(results, indent=2))


def _db(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.1f} dB"


def run_ui(arguments: argparse.Namespace) -> None:
    """`audiornn ui`: become MLflow's server on the store of this folder."""
    from audiornn.tracking import store

    uri = store(Path.cwd())
    if uri.startswith("http"):
        raise AudioRNNError(f"MLFLOW_TRACKING_URI is {uri}: that is a server already; open it in a browser")
    print(f"MLflow UI on http://{arguments.host}:{arguments.port}; stop it with Ctrl-C", flush=True)
    command = ["mlflow", "ui", "--backend-store-uri", uri, "--host", arguments.host, "--port", str(arguments.port)]
    os.execv(sys.executable, [sys.executable, "-m", *command])


def run_summary(arguments: argparse.Namespace) -> None:
    """`audiornn summary`."""
    from audiornn.files import read_json

    train, scores, codes = (read_json(f"metrics/{name}.json") for name in ("train", "evaluate", "encode"))
    made = read_json("metrics/generate.json")
    print(
        f"\nThe entropy of a single code is {codes['code_entropy_bits']:.2f} bits; after {train['epochs']} epochs the "
        f"model needs\n{scores['validation']['bits_per_sample']:.2f} bits per sample on validation and "
        f"{scores['test']['bits_per_sample']:.2f} on test.\n\nListen to"
    )
    for clip in sorted(Path("generated").glob("*.wav")):
        levels = made["clips"][clip.stem]
        print(f"  {clip}  ({levels['seconds']:.1f} s, RMS {levels['rms_dbfs']:.0f} dBFS)")
    print("\nLook at\n  figures/curves.png     loss and accuracy by epoch\n  figures/generated.png  real and generated")
    print("\nCompare runs, and listen, in the MLflow UI:  make ui\n")


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point: bad input ends in one line on stderr and exit code 2."""
    arguments = parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names may be any bytes, as on stderr
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        arguments.run(arguments)
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except (AudioRNNError, OSError) as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
