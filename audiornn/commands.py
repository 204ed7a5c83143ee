"""The commands of `audiornn`, each a function of its parsed arguments."""

import argparse
import json
import sys
from pathlib import Path

from audiornn.common.errors import AudioRNNError
from audiornn.common.waits import announced


def run_inspect(arguments: argparse.Namespace) -> None:
    """`audiornn inspect`."""
    from audiornn import params
    from audiornn.audio import inspection
    from audiornn.common import validation

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
    from audiornn import params
    from audiornn.common import validation

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
    if arguments.stream and arguments.seconds is None and isinstance(p.temperature[0], tuple):
        raise AudioRNNError("--stream without --seconds has no end, at which a ramp of temperatures could arrive")
    if arguments.stream and (arguments.output is not None or arguments.json):
        raise AudioRNNError("--stream writes to stdout: it goes neither with --output nor with --json")
    if arguments.prompt == "":
        raise AudioRNNError("--prompt is '', but must be an audio file")
    if arguments.format and not arguments.stream:
        raise AudioRNNError(f"--format {arguments.format} goes with --stream: clips are wav files")

    with announced("loading"):
        from audiornn.common.serialization import write_json
        from audiornn.generation import clips, prompts, streaming
        from audiornn.models import storage
        from audiornn.tracking.models.registry import model_folder

    model = storage.load(arguments.model if arguments.run is None else model_folder(Path.cwd(), arguments.run))
    prompt = prompts.load(arguments.prompt, p, model.codec)
    if arguments.stream:
        if sys.stdout.isatty():
            raise AudioRNNError(
                "--stream writes samples to stdout: redirect it to a file, or pipe it into a player such as aplay"
            )
        streaming.stream(model, p, sys.stdout.buffer, prompt, arguments.seconds is not None, arguments.format == "wav")
        return
    made, speed = clips.generate_clips(model, p, prompt, progress=not arguments.json and sys.stderr.isatty())
    output = Path("clips" if arguments.output is None else arguments.output)
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

        take = takes.render_file(arguments.render, arguments.output, Path.cwd(), arguments.model)
        print(f"{arguments.output}: {len(take.pcm) / take.settings.sample_rate:.2f} s")
        return
    from audiornn.playing import server
    from audiornn.playing.choices import Choices

    choices = Choices(Path.cwd(), arguments.model, arguments.engine)
    server.serve(choices, arguments.host, arguments.port, not arguments.no_browser)


def run_export(arguments: argparse.Namespace) -> None:
    """`audiornn export`."""
    import shlex

    with announced("loading"):
        from audiornn.exporting import folder
        from audiornn.models import storage

    model = storage.load(arguments.model)
    folder.export(model, arguments.to)
    size = sum(path.stat().st_size for path in Path(arguments.to).iterdir())
    to = shlex.quote(arguments.to)
    print(f"{arguments.to}: {size / 1e6:.1f} MB. To compile and play it:")
    print(f"  make -C {to} && {to}/player {to} | aplay -f S16_LE -r {model.codec.sample_rate}")


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
    from audiornn.experiments.search.space import Space

    if arguments.name is None:
        for name, experiment in definition.list_experiments().items():
            takes = f" ({experiment.takes})" if experiment.takes else ""
            print(f"{name:<13} {' '.join(experiment.description.split())}{takes}")
        return
    if not arguments.dry_run:
        sweep.run(arguments.name, arguments.set_param, repeat=arguments.repeat, trials=arguments.trials)
        return
    planned = plan.read_experiment(arguments.name, arguments.set_param, ".", arguments.repeat, arguments.trials)
    if planned.experiment.search:
        print(f"{planned.experiment.trials} trials of")
        for key, found in Space(planned).ranges.items():
            print(f"  {key}: {found.describe()}")
        return
    for setting in plan.settings_of(planned):
        print(shlex.join(dvc.command(setting)))


def run_new(arguments: argparse.Namespace) -> None:
    """`audiornn new`."""
    import shlex

    from audiornn.experiments import workspace

    preset = workspace.create(arguments.folder, arguments.preset)
    print(f"{arguments.folder}: {' '.join(preset.description.split())}\n\nPut recordings into it, then train:")
    folder = shlex.quote(arguments.folder)
    print(f"  cp -r FOLDER/* {folder}/recordings/\n  cd {folder} && dvc repro")


def run_estimate(arguments: argparse.Namespace) -> None:
    """`audiornn estimate`."""
    with announced("loading"):
        from audiornn.experiments.estimation import estimate

    params, estimated = estimate.estimate(arguments.set_param)
    if arguments.json:
        print(json.dumps(estimate.as_dict(estimated), indent=2))
        return
    for line in estimate.describe(params, estimated):
        print(line)


def run_promote(arguments: argparse.Namespace) -> None:
    """`audiornn promote`."""
    from audiornn.tracking.models import registry

    version = registry.promote(Path.cwd(), arguments.run)
    print(
        f"version {version} of {registry.REGISTERED} is the champion: models:/{registry.REGISTERED}@{registry.CHAMPION}"
    )


def run_ui(arguments: argparse.Namespace) -> None:
    """`audiornn ui`: run MLflow's server."""
    from audiornn.tracking import ui

    if code := ui.serve(Path.cwd(), arguments.host, arguments.port):
        sys.exit(code)


def run_sync(arguments: argparse.Namespace) -> None:
    """`audiornn sync`."""
    from audiornn.tracking import delivery

    done = False
    for line in delivery.sync(Path.cwd()):
        print(line, flush=True)
        done = True
    if not done:
        print("nothing to deliver")


def run_summary(arguments: argparse.Namespace) -> None:
    """`audiornn summary`."""
    from audiornn.report.results import read_results

    results = read_results(Path())
    train, scores, made = results.training, results.scores, results.generation
    print(
        f"\nA model without memory needs {results.codes.code_entropy_bits:.2f} bits per sample; after {train.epochs:g} "
        f"epochs this one needs\n{scores.validation.bits_per_sample:.2f} on validation and "
        f"{scores.test.bits_per_sample:.2f} on test."
    )
    distance = made.distance_db
    heard = "Its clips are silent" if distance is None else f"Its sound is {distance:.1f} dB from real audio on average"
    print(
        f"\n{heard}; real audio itself stays within {made.distance_limit_db:.1f} dB.\n"
        f"{made.clips_with_findings:.0%} of the measured clips have findings.\n"
        f"{results.standing.expectation}\n\nListen to"
    )
    for name, clip in results.clips.items():
        print(f"  {Path('generated') / name}.wav  ({clip.seconds:.1f} s, RMS {clip.rms_dbfs:.0f} dBFS)")
    print("\nLook at\n  report.html            all results on one page")
    print("  figures/context.png    loss against context length\n  figures/generated.png  real and generated")
    print("\nCompare runs, and listen, in the MLflow UI:  make ui\n")
