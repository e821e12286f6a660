import base64
import io
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image


def score(image: Image.Image, prompt: str) -> float:
    """The reward of an RGB image for its prompt, the higher the better."""
    return float(np.asarray(image).mean() / 255)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        files = (io.BytesIO(base64.b64decode(text)) for text in request["images"])
        images = [Image.open(file).convert("RGB") for file in files]
        rewards = [score(image, prompt) for image, prompt in zip(images, request["prompts"], strict=True)]
        answer = json.dumps({"rewards": rewards}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.serve_forever()
