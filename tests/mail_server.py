"""A mail server (RFC 5321, the little of it that a client needs): takes mails, or refuses or hangs when told to."""

import email
import email.policy
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage

GREETING = b"220 tests"
REFUSAL = b"421 not now"


class MailServer(socketserver.ThreadingTCPServer):
    """What it took is in `mails`; without a greeting it accepts connections and says nothing."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, greeting: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.greeting = greeting
        self.mails: list[EmailMessage] = []
        self.silence_over = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Conversation(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        if not self.server.greeting:
            self.server.silence_over.wait(60)
            return
        self.answer(self.server.greeting)
        for line in self.rfile:
            match line.split()[0].upper():
                case b"DATA":
                    self.answer(b"354 go on")
                    self.server.mails.append(self.read_mail())
                    self.answer(b"250 taken")
                case b"QUIT":
                    self.answer(b"221 bye")
                    return
                case _:
                    self.answer(b"250 fine")

    def answer(self, line: bytes) -> None:
        self.wfile.write(line + b"\r\n")

    def read_mail(self) -> EmailMessage:
        lines = iter(self.rfile.readline, b".\r\n")
        mail = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        return mail


@contextmanager
def mail_server(greeting: bytes = GREETING) -> Iterator[MailServer]:
    """Run a mail server on a port of its own."""
    with MailServer(greeting) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.silence_over.set()
            server.shutdown()
            thread.join()
