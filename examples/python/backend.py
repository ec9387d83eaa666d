"""A backend in Python's standard library: an API with sessions, and what realtime adds to it.

Clients connect to Caddy, which asks POST /realtime who they are and what follows from their events.
"""

import base64
import hashlib
import hmac
import itertools
import json
import os
import secrets
import signal
import sys
import threading
import time
import urllib.request
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ.get("REALTIME_SECRET", "")
EMIT_URL = os.environ.get("REALTIME_URL", "http://localhost:8080/api/realtime") + "/emit"
EMIT_KEY = os.environ.get("REALTIME_KEY", "")
TOLERANCE = 300  # seconds that a request may be old, and is remembered

# Also what the backend says of a socket, and gets with each event.
USERS = {
    user["email"]: user
    for user in [
        {"userId": "u1", "organizationId": "acme", "role": "admin", "email": "ann@example.com"},
        {"userId": "u2", "organizationId": "acme", "role": "member", "email": "bob@example.com"},
        {"userId": "u3", "organizationId": "umbrella", "role": "member", "email": "eve@example.com"},
    ]
}

sessions = {}  # user, by the value of the cookie
numbers = itertools.count(1)
stopping = threading.Event()


class Refused(Exception):
    """An answer that is an error, for programs by its code and for people by its message."""

    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.code = status, code

    def body(self):
        return {"error": {"code": self.code, "message": str(self)}}


class Seen:
    """Remembers what was there within twice the tolerance."""

    def __init__(self):
        self.lock, self.times = threading.Lock(), {}

    def first(self, what):
        """Says whether it sees something for the first time."""
        now = time.time()
        with self.lock:
            for old in list(itertools.takewhile(lambda old: self.times[old] < now - 2 * TOLERANCE, self.times)):
                del self.times[old]
            return self.times.setdefault(what, now) == now


requests, gone = Seen(), Seen()


def verify(headers, body):
    """Checks the signature of a request, by the scheme of Standard Webhooks: Caddy's, of this moment, and here for the first time.

    If it is not, that is not the client's fault: a secret is wrong, or this is not Caddy.
    """
    timestamp = headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > TOLERANCE:
        raise Refused(500, "bad_signature", "the request is too old, or of the future")
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signed = f"{headers.get('webhook-id', '')}.{timestamp}.".encode() + body
    want = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = headers.get("webhook-signature", "").encode().split()  # one for each secret
    if not any([hmac.compare_digest(one, want.encode()) for one in given]):
        raise Refused(500, "bad_signature", "the signature is wrong")
    if not requests.first(want):  # another attempt has another signature
        raise Refused(500, "bad_signature", "the request has been here before")


def emit(**event):
    """Posts an event."""
    request = urllib.request.Request(
        EMIT_URL,
        json.dumps(event).encode(),
        {"Authorization": f"Bearer {EMIT_KEY}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10):
        pass


def handle(identifier, message):
    """Returns the answer to a message: a status, and a body or None."""
    try:
        if message["type"] == "socket.event":
            return 200, event(message["data"])
        if message["type"] == "socket.disconnect":
            disconnected(identifier, message["data"])
        return 204, None  # also to what is of a newer Caddy
    except Refused as refused:
        return refused.status, refused.body()


def event(data):
    """Handles what clients send."""
    if data["event"] != "message:send" or not data["args"]:
        raise Refused(422, "unknown_event", "there is message:send, with {text}")
    sent, user = data["args"][0], data["state"]
    if not isinstance(sent, dict) or not isinstance(sent.get("text"), str) or not sent["text"]:
        raise Refused(422, "no_text", "a message has a text")
    number = next(numbers)
    message = {"id": number, "text": sent["text"], "from": user["email"]}
    others = {"to": [f"org:{user['organizationId']}"], "except": [data["socket"]["id"]], "event": "message:new", "args": [message]}
    return {"ack": [{"ok": True, "id": number}], "emit": [others]}


def disconnected(identifier, data):
    if gone.first(identifier):  # it may be told more than once
        email, left = data["state"].get("email"), data["user_connections_left"]
        print(f"{email} disconnected: {data['reason']}, {left} connections left", flush=True)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # Caddy's connections are used again
    wbufsize = -1  # an answer leaves in one piece

    def do_GET(self):
        if self.path == "/health":
            self.answer(200, {"status": "ok"})
        elif self.path == "/me":
            user = self.session()
            self.answer(200, user) if user else self.answer(401, {"error": {"code": "no_session", "message": "log in first"}})
        else:
            self.answer(404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        routes = {"/login": self.login, "/logout": self.logout, "/announcements": self.announce, "/realtime": self.realtime}
        try:
            if self.path in routes:
                routes[self.path](body)
            else:
                self.answer(404)
        except Refused as refused:
            self.answer(refused.status, refused.body())
        except ValueError:
            self.answer(400, {"error": {"code": "bad_request", "message": "the body is no JSON"}})

    def login(self, body):
        """Stands for yours."""
        user = USERS.get(json.loads(body).get("email"))
        if not user:
            raise Refused(401, "unknown_user", "nobody has this address")
        session = secrets.token_urlsafe()
        sessions[session] = user
        self.answer(204, cookie=f"session={session}; Path=/; HttpOnly; SameSite=Lax")

    def logout(self, _):
        sessions.pop(self.session_id(), None)
        self.answer(204, cookie="session=; Path=/; Max-Age=0")

    def session_id(self):
        cookie = SimpleCookie(self.headers.get("cookie", "")).get("session")
        return cookie.value if cookie else None

    def session(self):
        """Returns who has sent a request. It is the same for those of browsers, and those that Caddy makes when a client connects."""
        return sessions.get(self.session_id())

    def announce(self, body):
        """An ordinary request that everybody in the organisation hears of."""
        user = self.session()
        if not user or user["role"] != "admin":
            raise Refused(403, "forbidden", "only admins announce")
        text = json.loads(body).get("text")
        if not text:
            raise Refused(422, "no_text", "an announcement has a text")
        try:
            emit(to=[f"org:{user['organizationId']}"], event="announcement", args=[{"text": text}])
        except OSError as error:
            print(f"emitting announcement: {error}", flush=True)
            raise Refused(502, "not_announced", "the announcement was not sent") from error
        self.answer(202)

    def realtime(self, body):
        """Answers Caddy."""
        verify(self.headers, body)
        message = json.loads(body)
        if message["type"] == "batch":
            self.batch(message["messages"])
        elif message["type"] == "socket.connect":
            self.connected(message["data"])
        else:
            self.answer(*handle(self.headers["webhook-id"], message))

    def batch(self, messages):
        """Answers messages that come together, each by a line."""
        lines = ""
        for message in messages:
            status, body = handle(message["id"], message)
            lines += json.dumps({"id": message["id"], "status": status, "body": body}) + "\n"
        self.answer(200, lines, kind="application/x-ndjson")

    def connected(self, data):
        """Lets in who has a session."""
        user = self.session()
        if not user:
            raise Refused(401, "no_session", "log in first")
        print(f"{user['email']} connected: {data['socket']['id']}", flush=True)
        self.answer(200, {"user": user["userId"], "data": user, "join": [f"org:{user['organizationId']}"]})

    def answer(self, status, value=None, cookie=None, kind="application/json"):
        body = b"" if value is None else (value if isinstance(value, str) else json.dumps(value)).encode()
        self.send_response(status)
        if cookie:
            self.send_header("Set-Cookie", cookie)
        if value is not None:
            self.send_header("Content-Type", kind)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        if stopping.is_set():
            self.send_header("Connection", "close")
            self.send_header("Retry-After", "1")  # seconds, for which Caddy sends nothing more
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Keeps quiet about each request."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


def main():
    if not SECRET:
        sys.exit("REALTIME_SECRET is missing; make one: echo whsec_$(openssl rand -base64 32)")
    host, port = os.environ.get("API_ADDRESS", "localhost:3000").rsplit(":", 1)
    server = Server((host, int(port)), Handler)

    def stop():
        # Caddy keeps to itself what comes from now on, and asks again what cannot connect any more. By the time that the socket
        # is closed nothing is on its way.
        stopping.set()
        time.sleep(0.5)
        server.shutdown()

    for number in signal.SIGTERM, signal.SIGINT:
        signal.signal(number, lambda *_: threading.Thread(target=stop).start())
    print(f"listening on {host}:{port}", flush=True)
    server.serve_forever(poll_interval=0.1)
    server.server_close()
    time.sleep(1)  # for what is still being answered


if __name__ == "__main__":
    main()
