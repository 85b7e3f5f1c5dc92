"""What uses a gateway: a client that watches, one that never reads, one that brings frames and steps, one that asks over HTTP."""

import json
import socket
import threading
import time
import urllib.error
from contextlib import suppress

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from prometheus import fetch


class Clients:
    """From now until `ended` is set."""

    def __init__(self, url, stalled=False):
        self.url, self.ended = url, threading.Event()
        for work in (self.watch, self.bring, self.ask, *([self.stall] if stalled else [])):
            threading.Thread(target=self.again, args=(work,), daemon=True).start()

    def again(self, work):
        while not self.ended.wait(0.5):
            # Gateways and cameras may go and come.
            with suppress(OSError, WebSocketException, TimeoutError):
                work()

    def connect(self, path, **more):
        return connect(self.url.replace("http", "ws") + path, max_size=None, **more)

    @staticmethod
    def subscribe(client, width):
        client.send(json.dumps({"subscribe": {"cameras": [], "results": True, "preview_width": width}}))

    def watch(self):
        with self.connect("/ws", subprotocols=["peregrine.json"]) as client:
            self.subscribe(client, 640)
            until = time.monotonic() + 30
            while time.monotonic() < until and not self.ended.is_set():
                message = json.loads(client.recv(timeout=5))
                if result := message.get("result"):
                    painted = {"camera": result["camera"], "id": result["id"], "deliver_us": 900, "paint_us": 4000}
                    client.send(json.dumps({"painted": painted}))

    def stall(self):
        host, port = self.url.removeprefix("http://").split(":")
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.connect((host, int(port)))
        with self.connect("/ws", sock=narrow, max_queue=1, close_timeout=0.1) as client:
            self.subscribe(client, 1920)
            self.ended.wait(30)

    def bring(self):
        """Frames for the camera `push`, where there is one."""
        cameras = [camera["camera"] for camera in json.loads(fetch(f"{self.url}/api/cameras"))]
        with self.connect("/ws/ingest/push") as client:
            picture = self.any_picture(name for name in cameras if name != "push")
            while not self.ended.wait(0.1):
                client.send(picture)
                client.recv(timeout=5)

    def any_picture(self, cameras):
        """Of the first camera that has one."""
        for camera in cameras:
            with suppress(urllib.error.HTTPError):
                return fetch(f"{self.url}/api/cameras/{camera}/snapshot")
        raise OSError("no camera has a picture")

    def ask(self):
        with suppress(urllib.error.HTTPError):
            fetch(f"{self.url}/api/cameras/nobody")
        fetch(f"{self.url}/api/ledger")
        step = json.dumps({"step": 1, "sim_time_us": time.monotonic_ns() // 1000}).encode()
        fetch(f"{self.url}/ingest/robot", step, {"content-type": "application/json"})
