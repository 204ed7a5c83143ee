"""The `audiornn` command. Slow imports are left to the commands that need them."""

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from audiornn import __version__
from audiornn.errors import AudioRNNError, one_line
from audiornn.interrupts import interrupted_by_signals
from audiornn.waits import announced


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(one_line(message))


def parser() -> argparse.ArgumentParser:
    """The argument parser with all commands."""
    top = _Parser(
        prog="audiornn",
        description="Recurrent networks that predict raw PCM audio sample by sample. `dvc repro` runs the pipeline; "
        "these commands inspect and use its results.",
    )
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")

    inspect = commands.add_parser(
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
    inspect.set_defaults(handler=run_inspect)

    generate = commands.add_parser(
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
    generate.add_argument(
        "--output", default="clips", metavar="DIR", help="folder for the clips (default: %(default)s)"
    )
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
        help="sample from the likeliest codes of this total probability (default: 0.99)",
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
        "%(default)s; with --stream: limit)",
    )
    generate.add_argument(
        "--engine", default="auto", help="auto, fused, fused-bf16 or tensorflow (default: %(default)s)"
    )
    generate.add_argument("--stream", action="store_true", help="write samples to stdout while they are generated")
    generate.add_argument(
        "--format",
        choices=["raw", "wav"],
        default="raw",
        help="format of --stream: raw 16-bit PCM or wav (default: %(default)s)",
    )
    generate.add_argument("--json", action="store_true", help="print a JSON object instead of text")
    generate.set_defaults(handler=run_generate)

    play = commands.add_parser(
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
    play.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    play.add_argument("--port", type=int, default=8420, help="0: a free one (default: %(default)s)")
    play.add_argument("--no-browser", action="store_true", help="print the address of the page without opening it")
    play.add_argument("--render", metavar="TAKE", help="a take as wav or FLAC, or its settings as JSON")
    play.add_argument("--output", metavar="FILE", help="where --render writes: a name in .wav or .flac")
    play.set_defaults(handler=run_play)

    diagnose = commands.add_parser(
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
    diagnose.set_defaults(handler=run_diagnose)

    experiment = commands.add_parser(
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
    experiment.add_argument("--dry-run", action="store_true", help="print DVC's commands without running them")
    experiment.set_defaults(handler=run_experiment)

    promote = commands.add_parser(
        "promote",
        help="make the model of an MLflow run the champion",
        description="Register the model of an MLflow run and give it the alias champion: models:/audiornn@champion. "
        "The generate stage does so itself if a model beats the champion in bits per sample on the same validation "
        "split and in sound: docs/experiments-howto.md.",
    )
    promote.add_argument("run", metavar="RUN_ID")
    promote.set_defaults(handler=run_promote)

    ui = commands.add_parser("ui", help="open the MLflow UI for the runs of this folder, on 127.0.0.1")
    ui.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    ui.add_argument("--port", type=int, default=5000, help="default: %(default)s")
    ui.set_defaults(handler=run_ui)

    sync = commands.add_parser(
        "sync",
        help="deliver what runs logged while the tracking server was not available",
        description="Deliver what runs of this folder logged while the tracking server was not available, from "
        ".audiornn/outbox. Repeating it doubles nothing.",
    )
    sync.set_defaults(handler=run_sync)

    summary = commands.add_parser(
        "summary", help="results of the last pipeline run in this folder, and where to listen"
    )
    summary.set_defaults(handler=run_summary)
    return top


def run_inspect(arguments: argparse.Namespace) -> None:
    """`audiornn inspect`."""
    from audiornn import params, validation
    from audiornn.audio import inspection

    file = arguments.params or ("params.yaml" if Path("params.yaml").exists() else None)
    read = params.load(file) if file else params.Params()
    given = {"sample_rate": arguments.sample_rate, "highpass_hz": arguments.highpass_hz}
    resample = validation.validate(
        params.Resample,
        read.resample.model_dump() | {key: value for key, value in given.items() if value is not None},
        "command line",
    )
    preemphasis = read.encode.preemphasis if arguments.preemphasis is None else arguments.preemphasis
    encode = validation.validate(params.Encode, {"preemphasis": preemphasis}, "command line")
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
                f"code entropy {result['code_entropy_bits']:.2f} bits"
            )
            if result["gain"] != 1:
                print(f"  scaled as a whole by {result['gain']:.3g}, as resampling would exceed full scale")
            for note in result["notes"]:
                print(f"  {note}")
            for step, wav in result["steps"].items():
                print(f"  {step:<10} {wav}")
    if arguments.json:
        print(json.dumps(results, indent=2))


def _db(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.1f} dB"


def run_generate(arguments: argparse.Namespace) -> None:
    """`audiornn generate`."""
    from audiornn import params, validation

    temperature = [part.strip() for part in arguments.temperature.split(",")]
    request = {key: getattr(arguments, key) for key in ("count", "seed", "peak_mode", "engine")}
    request |= {
        key: value
        for key in ("top_k", "top_p", "confidence_threshold")
        if (value := getattr(arguments, key)) is not None
    }
    request |= {"temperature": temperature, "prompt_offset": arguments.prompt_offset}
    request |= {"prompt_seconds": arguments.prompt_seconds}
    if arguments.seconds is not None:
        request["seconds"] = arguments.seconds
    p = validation.validate(params.Generate, request, "command line")
    if arguments.stream and p.clips > 1:
        raise AudioRNNError("--stream writes a single clip: give one temperature and no --count")

    with announced("loading"):
        from audiornn.files import write_json
        from audiornn.generation import clips, prompts, streaming
        from audiornn.models import storage
        from audiornn.tracking.registry import model_folder

    model = storage.load(model_folder(Path.cwd(), arguments.run) if arguments.run else arguments.model)
    prompt = prompts.load(arguments.prompt or None, p, model.codec)
    if arguments.stream:
        if sys.stdout.isatty():
            raise AudioRNNError(
                "--stream writes samples to stdout: redirect it to a file, or pipe it into a player such as aplay"
            )
        streaming.stream(model, p, sys.stdout.buffer, prompt, arguments.seconds is not None, arguments.format == "wav")
        return
    made, speed = clips.generate_clips(model, p, prompt, progress=not arguments.json and sys.stderr.isatty())
    output = Path(arguments.output)
    output.mkdir(parents=True, exist_ok=True)
    paths = [clip.write(output) for clip in made]
    codec = model.codec
    result = {
        "sample_rate": codec.sample_rate,
        "preemphasis": codec.preemphasis,
        "highpass_hz": codec.dc_blocker_hz,
        "peak_mode": p.peak_mode,
        "samples_per_second": speed,
        "real_time_factor": speed / codec.sample_rate / len(made),
        "clips": [{"file": str(path), **clip.levels()} for path, clip in zip(paths, made, strict=True)],
    }
    write_json(output / "clips.json", result)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    for path, clip in zip(paths, made, strict=True):
        print(f"{path}: {clip.describe()}")
    print(f"de-emphasised by {codec.preemphasis:g}, DC removed by a high-pass at {codec.dc_blocker_hz:g} Hz")
    print(f"{speed:,.0f} samples/s, {result['real_time_factor']:.1f} times real time")


def run_play(arguments: argparse.Namespace) -> None:
    """`audiornn play`."""
    if bool(arguments.render) != bool(arguments.output):
        raise AudioRNNError("--render TAKE and --output FILE belong together: give both or neither")
    if arguments.render:
        from audiornn.playing import takes
        from audiornn.playing.choices import Choices

        take = takes.render_file(arguments.render, arguments.output, Choices(Path.cwd(), arguments.model))
        print(f"{arguments.output}: {len(take.pcm) / take.settings.sample_rate:.2f} s")
        return
    from audiornn.playing import server

    server.serve(arguments.model, arguments.host, arguments.port, not arguments.no_browser)


def run_diagnose(arguments: argparse.Namespace) -> None:
    """`audiornn diagnose`."""
    with announced("loading"):
        from audiornn.diagnostics import diagnosis as diagnosis_module
        from audiornn.diagnostics import reference
        from audiornn.diagnostics.diagnosis import read_clip

    results = []
    references: dict[int, reference.Reference] = {}
    for path in arguments.clip:
        if not Path(path).exists():
            raise AudioRNNError(f"{path}: no such file: run dvc repro or audiornn generate first")
        wave, rate = read_clip(path)
        if arguments.reference and rate not in references:
            references[rate] = reference.Reference.read(arguments.reference, rate)
        with announced("diagnosing"):
            diagnosis = diagnosis_module.diagnose(wave, rate, references.get(rate))
        results.append({"file": path, "sample_rate": rate, **diagnosis.as_dict()})
        if not arguments.json:
            print(f"{path}: {diagnosis.seconds:.2f} s, {rate} Hz\n{diagnosis.describe()}")
    if arguments.json:
        print(json.dumps(results, indent=2, allow_nan=False))


def run_experiment(arguments: argparse.Namespace) -> None:
    """`audiornn experiment`."""
    import shlex

    from audiornn.experiments import definition, dvc, plan, sweep

    if arguments.name is None:
        for name, experiment in definition.list_experiments().items():
            print(f"{name:<12} {' '.join(experiment.description.split())}")
    elif arguments.dry_run:
        for setting in plan.plan(arguments.name, arguments.set_param):
            print(shlex.join(dvc.Dvc(Path.cwd()).command(setting)))
    else:
        sweep.run(arguments.name, arguments.set_param)


def run_promote(arguments: argparse.Namespace) -> None:
    """`audiornn promote`."""
    from audiornn.tracking import registry

    version = registry.promote(Path.cwd(), arguments.run)
    print(
        f"version {version} of {registry.REGISTERED} is the champion: models:/{registry.REGISTERED}@{registry.CHAMPION}"
    )


def run_ui(arguments: argparse.Namespace) -> None:
    """`audiornn ui`: run MLflow's server."""
    from audiornn.tracking import ui

    sys.exit(ui.serve(Path.cwd(), arguments.host, arguments.port))


def run_sync(arguments: argparse.Namespace) -> None:
    """`audiornn sync`."""
    from audiornn.tracking import runs

    done = False
    for line in runs.sync(Path.cwd()):
        print(line, flush=True)
        done = True
    if not done:
        print("nothing waits")


def run_summary(arguments: argparse.Namespace) -> None:
    """`audiornn summary`."""
    from audiornn.files import read_json
    from audiornn.tracking.ranking import Standing

    train, scores, codes = (read_json(f"metrics/{name}.json") for name in ("train", "evaluate", "encode"))
    made, clips = read_json("metrics/generate.json"), read_json("generated/clips.json")
    print(
        f"\nA model without memory needs {codes['code_entropy_bits']:.2f} bits per sample; after {train['epochs']} "
        f"epochs this one needs\n{scores['validation']['bits_per_sample']:.2f} on validation and "
        f"{scores['test']['bits_per_sample']:.2f} on test."
    )
    distance, limit = made["distance_db"], made["distance_limit_db"]
    bits = scores["validation"]["bits_per_sample"]
    standing = Standing(bits, made["distance_ratio"], made["clips_with_findings"])
    heard = "Its clips are silent" if distance is None else f"Its sound is {distance:.1f} dB from real audio on average"
    print(
        f"\n{heard}; real audio itself stays within {limit:.1f} dB.\n"
        f"{made['clips_with_findings']:.0%} of the measured clips have findings.\n"
        f"{standing.expectation}\n\nListen to"
    )
    for clip in sorted(Path("generated").glob("*.wav")):
        levels = clips[clip.stem]
        print(f"  {clip}  ({levels['seconds']:.1f} s, RMS {levels['rms_dbfs']:.0f} dBFS)")
    print("\nLook at\n  report.html            all results on one page")
    print("  figures/context.png    loss against context length\n  figures/generated.png  real and generated")
    print("\nCompare runs, and listen, in the MLflow UI:  make ui\n")


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
