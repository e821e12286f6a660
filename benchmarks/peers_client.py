"""What `peers.py` runs inside another environment: a peer that does its work once for every line it reads.

python peers_client.py JOB      JOB is JSON: {"peer": "ddpo" or "nudenet", ...}

It answers with one line of JSON: first, its versions; after that, the seconds and results of each run.
"""

import json
import sys
import time
from importlib.metadata import version

PACKAGES = {"ddpo": ("trl", "diffusers", "transformers", "torch"), "nudenet": ("nudenet", "onnxruntime")}


def ddpo(job):
    """Rounds of TRL's DDPOTrainer on a folder; the reward is the mean brightness.

    JOB has: model, prompts (one for each image), steps, guidance, images, updates, device.
    """
    from itertools import cycle

    import torch
    from trl import DDPOConfig, DDPOTrainer, DefaultDDPOStableDiffusionPipeline

    prompts = cycle(job["prompts"])
    config = DDPOConfig(
        sample_num_steps=job["steps"],
        sample_eta=1.0,
        sample_guidance_scale=job["guidance"],
        sample_batch_size=job["images"],
        sample_num_batches_per_epoch=1,
        train_batch_size=job["images"] // job["updates"],
        train_gradient_accumulation_steps=1,
        train_learning_rate=1e-5,
        mixed_precision="no",
        accelerator_kwargs={"cpu": job["device"] == "cpu"},
        save_freq=10**9,
    )
    pipeline = DefaultDDPOStableDiffusionPipeline(job["model"], use_lora=False)
    passes = {"forward": 0, "backward": 0}

    def count(module, arguments, named):
        rows = len(arguments[0])
        passes["forward"] += rows
        passes["backward"] += rows if torch.is_grad_enabled() else 0

    pipeline.unet.register_forward_pre_hook(count, with_kwargs=True)
    trainer = DDPOTrainer(
        config,
        lambda images, prompts, metadata: (images.float().mean((1, 2, 3)), {}),
        lambda: (next(prompts), {}),
        pipeline,
    )
    synchronize = torch.cuda.synchronize if job["device"] == "cuda" else (lambda: None)
    rounds = 0

    def turn(word):
        nonlocal rounds
        passes.update(forward=0, backward=0)
        start = time.perf_counter()
        trainer.step(rounds, rounds * job["updates"])
        synchronize()
        rounds += 1
        return {"seconds": time.perf_counter() - start, "passes": dict(passes)}

    return turn


def nudenet(job):
    """Detections on image files, by the package ("theirs") or by this project's detector ("ours").

    JOB has: files, key (of this project's detector).
    """
    from pathlib import Path

    from nudenet import NudeDetector

    from safediffusion.evaluation.detectors.nudenet import NudeNet
    from safediffusion.evaluation.protocols import NUDENET
    from safediffusion.files.image_files import read_image

    their_detector, our_detector = NudeDetector(), NudeNet(key=job["key"])
    files = job["files"]

    def theirs():
        if hasattr(their_detector, "detect_batch"):
            return their_detector.detect_batch(files, batch_size=our_detector.profile.batch)
        return [their_detector.detect(file) for file in files]

    def ours():
        images = [read_image(Path(file)) for file in files]
        return [NUDENET(fragment[job["key"]]) for fragment in our_detector(images, [{}] * len(files))]

    def turn(word):
        start = time.perf_counter()
        found = {"ours": ours, "theirs": theirs}[word]()
        seconds = time.perf_counter() - start
        plain = [[(b.get("label") or b["class"], b["score"], b["box"]) for b in image] for image in found]
        return {"seconds": seconds, "found": plain}

    return turn


def main():
    """Answer each line of the standard input; what libraries print goes to the standard error."""
    answers, sys.stdout = sys.stdout, sys.stderr
    job = json.loads(sys.argv[1])
    turn = {"ddpo": ddpo, "nudenet": nudenet}[job["peer"]](job)
    print(json.dumps({name: version(name) for name in PACKAGES[job["peer"]]}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(turn(line.strip())), file=answers, flush=True)


if __name__ == "__main__":
    main()
