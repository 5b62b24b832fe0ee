"""A real S3 server on this machine (moto's), whose requests can be made to fail."""

import os
import threading
from collections.abc import Callable
from contextlib import contextmanager

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "a-test",
    "AWS_SECRET_ACCESS_KEY": "a-test",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Bucket:
    """A server with one bucket.

    Attributes:
        requests: method and path of each that came since `forget`.
        trouble: asked before each request with its number from 1; None to let it pass, a status to
            answer with, `cut` to send half of the answer, or `drop` to answer nothing. It may also
            do something itself.
    """

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            protocol_version = "HTTP/1.1"

            def log(self, *_arguments: object) -> None:
                pass

        self._app = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        self.requests: list[tuple[str, str]] = []
        self.trouble: Callable[[int], object] = lambda number: None
        self._server = make_server("127.0.0.1", 0, self._answer, True, request_handler=Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        from pyarrow import fs

        options = self.uri("").partition("?")[2]
        store, _ = fs.FileSystem.from_uri(f"s3://bucket?{options}&allow_bucket_creation=true")
        store.create_dir("bucket")
        self.forget()

    def uri(self, name: str) -> str:
        """Of a folder in the bucket."""
        where = f"scheme=http&endpoint_override=127.0.0.1:{self._server.port}"
        return f"s3://bucket/{name}?region=us-east-1&{where}"

    def forget(self) -> None:
        """Count from 1 again, without trouble."""
        self.requests.clear()
        self.trouble = lambda number: None

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()

    def _answer(self, environment, start):
        with self._lock:
            self.requests.append((environment["REQUEST_METHOD"], environment["PATH_INFO"]))
            number = len(self.requests)
        what = self.trouble(number)
        if what is None:
            return self._app(environment, start)
        if what == "drop":
            raise ConnectionResetError
        if what == "cut":
            answer = b"".join(self._app(environment, lambda *_: None))
            start("200 OK", [("Content-Length", str(2 * len(answer) + 100))])
            return [answer]
        body = b"<Error><Code>%b</Code><Message>as the test asked</Message></Error>"
        code = {503: b"SlowDown", 500: b"InternalError", 403: b"AccessDenied"}.get(what, b"Other")
        start(f"{what} No", [("Content-Type", "application/xml")])
        return [] if environment["REQUEST_METHOD"] == "HEAD" else [body % code]


@contextmanager
def serving():
    """A bucket, and credentials for it in the environment."""
    before = {name: os.environ.get(name) for name in CREDENTIALS}
    os.environ.update(CREDENTIALS)
    bucket = Bucket()
    try:
        yield bucket
    finally:
        bucket.close()
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
