"""python-socketio and the guests, over the transports in TRANSPORTS."""

import os
import queue
import select
import ssl
import sys
import threading
import traceback

import engineio
import requests
import socketio

URL = os.environ["SERVER_URL"]
TRANSPORTS = os.environ["TRANSPORTS"].split(",")
PATIENCE = 60  # seconds; how long a step may take


class OneAtATime(ssl.SSLSocket):
    """Lets one thread read while another one writes, as the client does.

    OpenSSL does not allow two calls for a connection at once, and this Python
    does not prevent them. On a busy machine one of them would lose data.
    """

    turn = threading.Lock()  # one for all connections is enough here

    def read(self, *args):
        while True:
            with self.turn:
                timeout = self.gettimeout()
                self.settimeout(0)  # nobody waits with the lock
                try:
                    return super().read(*args)
                except ssl.SSLWantReadError:
                    pass
                finally:
                    self.settimeout(timeout)
            if not select.select([self], [], [], timeout)[0]:
                raise TimeoutError("The read operation timed out")

    def send(self, *args):
        with self.turn:
            return super().send(*args)


ssl.SSLContext.sslsocket_class = OneAtATime


class InOrder(engineio.Client):
    """Handles one message after the other.

    By default the client starts a thread for each message. On a busy machine
    an attachment then overtakes its packet, and both are lost.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.messages = queue.Queue()
        threading.Thread(target=self._handle, daemon=True).start()

    def _handle(self):
        while True:
            super()._trigger_event("message", self.messages.get())

    def _trigger_event(self, event, *args, run_async=False):
        if event == "message":
            return self.messages.put(*args)
        return super()._trigger_event(event, *args, run_async=run_async)


class SocketIO(socketio.Client):
    def _engineio_client_class(self):
        return InOrder


class Client:
    """A client whose events wait in queues, by namespace and name."""

    def __init__(self):
        session = requests.Session()
        if "SERVER_CA" in os.environ:
            session.verify = os.environ["SERVER_CA"]
            session.trust_env = False  # it may name another file
        self.sio = SocketIO(reconnection=False, http_session=session)
        self.events = {}
        for namespace in ("/", "/custom", "/unknown"):
            for name in ("auth", "message-back", "chat:line", "connect_error", "disconnect"):
                self.sio.on(name, self._put(namespace, name), namespace=namespace)

    def _put(self, namespace, name):
        waiting = self.events[namespace, name] = queue.Queue()
        return lambda *args: waiting.put(args)

    def heard(self, name, namespace="/"):
        return self.events[namespace, name].get(timeout=PATIENCE)

    def connect(self, auth=None, namespaces=("/",)):
        self.sio.connect(URL, auth=auth, transports=TRANSPORTS, namespaces=list(namespaces), wait_timeout=PATIENCE)
        for namespace in namespaces:
            assert self.heard("auth", namespace) == (auth or {},), "the auth that arrived"
        return self

    def ask(self, name, *args, namespace="/"):
        """Returns the ack: a lone argument, or a tuple."""
        return self.sio.call(name, args, namespace=namespace, timeout=PATIENCE)


def transport_is_the_one_asked_for():
    client = Client().connect()
    assert client.sio.transport() == TRANSPORTS[-1], client.sio.transport()
    client.sio.disconnect()


def values_go_there_and_back():
    client = Client().connect()
    everything = bytes(range(256))
    for args in (
        (),
        (None,),
        (True, False),
        (0, -1, 2**53, 1.5, 1e-7),
        ("", "text", "é😀\u2028<>&\"\\\x00"),
        ([], {}, [[1, [2]]], {"b": 1, "a": [None], "": {}}),
        (everything,),
        (b"", "between", b"x"),
        ({"a": b"1", "b": [b"2", {"c": [[b"3"]]}]}, [b"4"], b"5"),
        ([bytes([i]) for i in range(10)],),
    ):
        client.sio.emit("message", args)
        assert client.heard("message-back") == args, args
        answer = client.ask("message-with-ack", *args)
        assert answer == (None if not args else args[0] if len(args) == 1 else args), (answer, args)
    client.sio.disconnect()


def the_server_gets_acks():
    client = Client().connect()
    client.sio.on("question", lambda *args: ("answer", list(args), None))
    assert client.ask("ask", "question", 1, {"two": 2}) == ("answer", [1, {"two": 2}], None)
    client.sio.on("picture", lambda data: ({"size": len(data), "data": data}, data))
    assert client.ask("ask", "picture", b"bytes") == ({"size": 5, "data": b"bytes"}, b"bytes")
    client.sio.disconnect()


def namespaces_share_a_connection():
    auth = {"token": "user:ann"}
    client = Client().connect(auth, ("/", "/custom"))
    assert client.sio.get_sid("/") != client.sio.get_sid("/custom")
    assert client.ask("whoami")["data"]["namespace"] == "/"
    known = client.ask("whoami", namespace="/custom")
    assert (known["user"], known["id"]) == ("ann", client.sio.get_sid("/custom")), known
    client.sio.emit("message", ("to custom", b"x"), namespace="/custom")
    assert client.heard("message-back", "/custom") == ("to custom", b"x")
    client.sio.emit("kick", namespace="/custom")
    client.heard("disconnect", "/custom")
    assert client.ask("message-with-ack", "alive") == "alive", "the other namespace lives on"
    assert client.events["/", "message-back"].empty()
    client.sio.disconnect()


def a_refusal_has_message_and_data():
    refusals = {
        ("/", "forbidden"): {"message": "not authorized", "data": {"code": "E_FORBIDDEN", "hints": ["<ask>", {"an": "admin"}]}},
        ("/custom", "expired"): {"message": "token has expired"},
        ("/unknown", ""): {"message": "Invalid namespace"},
    }
    for (namespace, token), refusal in refusals.items():
        client = Client()
        client.sio.connect(URL, auth={"token": token}, namespaces=[namespace], transports=TRANSPORTS, wait=False)
        assert client.heard("connect_error", namespace) == (refusal,)
        client.sio.disconnect()


def rooms_relay():
    ann, ben = Client().connect(), Client().connect()
    for client in (ann, ben):
        assert client.ask("join", "room:python") == {"ok": True}
    ann.sio.emit("chat:line", ("from ann", b"pic", {"n": 1}))
    assert ben.heard("chat:line") == ("from ann", b"pic", {"n": 1})
    assert ann.ask("message-with-ack", 1) == 1
    assert ann.events["/", "chat:line"].empty(), "the sender hears itself"
    ann.sio.disconnect()
    ben.sio.disconnect()


def being_sent_away_ends_the_connection():
    client = Client().connect()
    client.sio.emit("kick", "all")
    client.heard("disconnect")
    client.sio.wait()
    assert not client.sio.connected


for check in (
    transport_is_the_one_asked_for,
    values_go_there_and_back,
    the_server_gets_acks,
    namespaces_share_a_connection,
    a_refusal_has_message_and_data,
    rooms_relay,
    being_sent_away_ends_the_connection,
):
    try:
        check()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # the client's threads may never end
    print("ok", check.__name__.replace("_", " "), flush=True)
