"""Save an API's images of a task's prompts: python ask_api.py URL TASK N FOLDER"""

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

from safediffusion.evaluation.tasks import get_task
from safediffusion.evaluation.tasks.task import without_minors


def ask(url, prompt, seed):
    """The bytes of one image."""
    body = json.dumps({"prompt": prompt, "seed": seed}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return answer.read()


def save_images(url, task, n, folder):
    """One image per prompt; what exists is kept, so that the script can be run again."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in without_minors(get_task(task).prompts(n, seed=0)):
        path = folder / f"{row.get('case', row['index'])}_{row.get('sample', 0)}.png"
        if path.exists():
            continue
        try:
            path.write_bytes(ask(url, row["prompt"], row["seed"]))
        except urllib.error.HTTPError as error:
            print(f"{path.name}: no image ({error})", file=sys.stderr)


if __name__ == "__main__":
    save_images(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
