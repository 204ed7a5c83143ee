"""The `audiornn` command. Slow imports are left to the commands that need them."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from audiornn import __version__, commands
from audiornn.common.errors import AudioRNNError, one_line
from audiornn.common.interrupts import interrupted_by_signals


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(one_line(message))


def port(text: str) -> int:
    """A number of a port, 0 to 65535."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number of a port, 0 to 65535")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The argument parser with all commands."""
    top = _Parser(
        prog="audiornn",
        description="Recurrent networks that predict raw PCM audio sample by sample. `dvc repro` runs the pipeline; "
        "these commands inspect and use its results.",
    )
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subcommands = top.add_subparsers(dest="command", metavar="COMMAND")

    inspect = subcommands.add_parser(
        "inspect",
        help="write recordings after each preprocessing step",
        description="Write each recording as wav after each preprocessing step (read, resampled, emphasised, decoded), "
        "and print the signal-to-noise ratio of the codec. Settings default to those of params.yaml.",
    )
    inspect.add_argument("file", nargs="+", metavar="FILE", help="an audio file")
    inspect.add_argument("--output", required=True, metavar="DIR", help="folder that receives one folder per recording")
    inspect.add_argument("--params", metavar="FILE", help="default: params.yaml, if it exists")
    inspect.add_argument("--sample-rate", type=int, metavar="HZ", help="instead of resample.sample_rate")
    inspect.add_argument("--highpass-hz", type=float, metavar="HZ", help="instead of resample.highpass_hz")
    inspect.add_argument("--preemphasis", type=float, metavar="A", help="instead of encode.preemphasis")
    inspect.add_argument("--json", action="store_true", help="print a JSON list instead of text")
    inspect.set_defaults(handler=commands.run_inspect)

    generate = subcommands.add_parser(
        "generate",
        help="generate audio with a trained model",
        description="Generate clips with a trained model as 16-bit wav files; or, with --stream, one endless clip as "
        "raw PCM on stdout: audiornn generate --stream | aplay -f S16_LE -r 8000",
    )
    source = generate.add_mutually_exclusive_group()
    source.add_argument(
        "--model",
        default="models",
        metavar="MODEL",
        help="folder of the model, or one in MLflow such as models:/audiornn@champion (default: %(default)s)",
    )
    source.add_argument("--run", metavar="RUN_ID", help="an MLflow run that holds the model")
    generate.add_argument("--seconds", type=float, help="length of each clip (default: 4; with --stream: endless)")
    generate.add_argument("--count", type=int, default=1, help="clips per temperature (default: %(default)s)")
    generate.add_argument("--output", metavar="DIR", help="folder for the clips (default: clips)")
    generate.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    generate.add_argument(
        "--temperature",
        default="1.0",
        metavar="T[,T...]",
        help="0 (always the likeliest code) to 10; a list: 0.8,1.0; a ramp: 0.7:1.1 (default: %(default)s)",
    )
    generate.add_argument("--top-k", type=int, metavar="K", help="sample from the K likeliest codes (default: 0, all)")
    generate.add_argument(
        "--top-p",
        type=float,
        metavar="P",
        help="sample from the likeliest codes of this total probability (default: 0.998)",
    )
    generate.add_argument(
        "--confidence-threshold",
        type=float,
        metavar="P",
        help="ignore temperature, top-k and top-p where the likeliest code has at least this probability, so that "
        "pauses end (default: 0.5; 1: never)",
    )
    generate.add_argument(
        "--prompt", metavar="FILE", help="an audio file to continue, of any sample rate and number of channels"
    )
    generate.add_argument(
        "--prompt-offset", type=float, default=0.0, metavar="S", help="start of the prompt in the file, in seconds"
    )
    generate.add_argument(
        "--prompt-seconds", type=float, default=0.5, metavar="S", help="length of the prompt, in seconds (default: 0.5)"
    )
    generate.add_argument(
        "--peak-mode",
        default="safe",
        help="safe: scale down where peaks clip; normalise: scale to full scale; limit: a limiter (default: "
        "%(default)s; --stream always has the limiter)",
    )
    generate.add_argument(
        "--engine", default="auto", help="auto, fused, fused-bf16 or tensorflow (default: %(default)s)"
    )
    generate.add_argument("--stream", action="store_true", help="write samples to stdout while they are generated")
    generate.add_argument(
        "--format",
        choices=["raw", "wav"],
        help="format of --stream: raw 16-bit PCM or wav (default: raw)",
    )
    generate.add_argument("--json", action="store_true", help="print a JSON object instead of text")
    generate.set_defaults(handler=commands.run_generate)

    play = subcommands.add_parser(
        "play",
        help="play a model live in the browser: steer it, record it",
        description="Open a page that plays a model without end while it generates, with controls, spectrogram and "
        "recording: docs/play.md. With --render: generate a take again, to the byte.",
    )
    play.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="folder, MLflow run id or a URI such as models:/audiornn@champion (default: models, then those of MLflow)",
    )
    play.add_argument(
        "--engine",
        choices=["fused", "fused-bf16"],
        default="fused",
        help="fused-bf16: rounded weights, which take half as long (default: %(default)s)",
    )
    play.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    play.add_argument("--port", type=port, default=8420, help="0: a free one (default: %(default)s)")
    play.add_argument("--no-browser", action="store_true", help="print the address of the page without opening it")
    play.add_argument("--render", metavar="TAKE", help="a take as wav or FLAC, or its settings as JSON")
    play.add_argument("--output", metavar="FILE", help="where --render writes: a name in .wav or .flac")
    play.set_defaults(handler=commands.run_play)

    export = subcommands.add_parser(
        "export",
        help="write a model as a folder that needs no Python: weights and a player in C",
        description="Write a samplernn without predictor as a folder with its weights as plain float32, a description "
        "and a player in C that streams PCM: docs/elsewhere.md. An earlier export in the folder is replaced.",
    )
    export.add_argument(
        "model", metavar="MODEL", help="folder, MLflow run id or a URI such as models:/audiornn@champion"
    )
    export.add_argument("--to", required=True, metavar="FOLDER", help="a new folder, or an earlier export")
    export.set_defaults(handler=commands.run_export)

    diagnose = subcommands.add_parser(
        "diagnose",
        help="diagnose clips: silence, clipping, noise, tones, loops",
        description="Measure clips, list what is abnormal about each, and suggest remedies. docs/diagnosis.md explains "
        "the numbers. The exit code is 0 whatever is found.",
    )
    diagnose.add_argument("clip", nargs="+", metavar="CLIP", help="a generated clip or any other audio file")
    diagnose.add_argument(
        "--reference", metavar="PATH", help="real audio to compare with: an audio file or a folder of them"
    )
    diagnose.add_argument("--json", action="store_true", help="print a JSON list instead of text")
    diagnose.set_defaults(handler=commands.run_diagnose)

    experiment = subcommands.add_parser(
        "experiment",
        help="run a named experiment: a sweep or a comparison",
        description="Run the settings of experiments/NAME.yaml, overrides of params.yaml, by DVC in copies of this "
        "folder. A sweep is an MLflow run with one child per setting and a summary. After an interruption, "
        "the same command resumes it. Without NAME: list the experiments.",
    )
    experiment.add_argument("name", nargs="?", metavar="NAME", help="name of a file in experiments/, without .yaml")
    experiment.add_argument(
        "-S",
        "--set-param",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a further override, such as train.epochs=2, or other values of a swept parameter: shard.context=64,128",
    )
    experiment.add_argument(
        "--repeat", type=int, metavar="N", help="run each setting with N seeds, whatever the file says"
    )
    experiment.add_argument(
        "--trials", type=int, metavar="N", help="settings that a search tries, instead of the file's"
    )
    experiment.add_argument("--dry-run", action="store_true", help="print DVC's commands without running them")
    experiment.set_defaults(handler=commands.run_experiment)

    new = subcommands.add_parser(
        "new",
        help="make a workspace with the parameters of a preset",
        description="Clone this repository into a new folder, write the values of a preset into its params.yaml, and "
        "commit that. The presets are the experiments of a single setting: speech-8k, speech-16k, music-16k, "
        "music-22k and music-44k, among others. docs/presets.md",
    )
    new.add_argument("folder", metavar="NAME", help="the new folder, outside this one, such as ../voices")
    new.add_argument("--preset", required=True, metavar="PRESET", help="its name; audiornn experiment lists them")
    new.set_defaults(handler=commands.run_new)

    estimate = subcommands.add_parser(
        "estimate",
        help="estimate what a pipeline run will take: disk, memory, time",
        description="Estimate disk, memory, seconds per epoch and when the training ends on this machine, from the "
        "recordings, params.yaml and a few real updates on random codes. Writes nothing in this folder. "
        "docs/estimate.md",
    )
    estimate.add_argument(
        "-S",
        "--set-param",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a value instead of that of params.yaml, such as train.minutes=480",
    )
    estimate.add_argument("--json", action="store_true", help="print a JSON object instead of text")
    estimate.set_defaults(handler=commands.run_estimate)

    promote = subcommands.add_parser(
        "promote",
        help="make the model of an MLflow run the champion",
        description="Register the model of an MLflow run and give it the alias champion: models:/audiornn@champion. "
        "The generate stage does so itself if a model beats the champion in bits per sample on the same validation "
        "split and in sound: docs/experiments-howto.md.",
    )
    promote.add_argument("run", metavar="RUN_ID")
    promote.set_defaults(handler=commands.run_promote)

    ui = subcommands.add_parser("ui", help="open the MLflow UI for the runs of this folder, on 127.0.0.1")
    ui.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    ui.add_argument("--port", type=port, default=5000, help="default: %(default)s")
    ui.set_defaults(handler=commands.run_ui)

    sync = subcommands.add_parser(
        "sync",
        help="deliver what runs logged while the tracking server was not available",
        description="Deliver what runs of this folder logged while the tracking server was not available, from "
        ".audiornn/outbox. It can be repeated safely.",
    )
    sync.set_defaults(handler=commands.run_sync)

    summary = subcommands.add_parser(
        "summary", help="results of the last pipeline run in this folder, and where to listen"
    )
    summary.set_defaults(handler=commands.run_summary)
    return top


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point: invalid input gives one line on stderr and exit code 2."""
    arguments = parser().parse_args(argv)
    if arguments.command is None:
        parser().print_help()
        return
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names may be any bytes, as on stderr
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with interrupted_by_signals():
            arguments.handler(arguments)
    except BrokenPipeError:  # the process that read our output has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except (AudioRNNError, OSError) as error:
        for line in str(error).splitlines():
            print(f"error: {one_line(line, 500)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
