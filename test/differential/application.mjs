// The application of ../guests/echo.go and ../guests/token.go, for Socket.IO's own server.

const disconnects = new Map(); // socket's id → { why, waiting }

function disconnectOf(id) {
  if (!disconnects.has(id)) disconnects.set(id, { waiting: [] });
  return disconnects.get(id);
}

/** Makes a server run the application, in all of its namespaces. */
export function install(io, { altered = false } = {}) {
  for (const namespace of [io.of("/"), io.of("/custom"), io.of(/^\/tenant-[^/]*$/)]) {
    namespace.use(authenticate);
    namespace.on("connection", (socket) => serve(socket, altered));
  }
}

/** The authenticator "token". */
function authenticate(socket, next) {
  const { auth, headers } = socket.handshake;
  const refuse = (message, data) => next(Object.assign(new Error(message), { data }));
  if (auth.token !== undefined && typeof auth.token !== "string") return refuse("the token is no string");
  const token = auth.token || (headers.authorization ?? "").replace(/^Bearer /, "");
  socket.data = { auth };
  if (token.startsWith("user:")) {
    const name = token.slice("user:".length);
    socket.data.namespace = socket.nsp.name;
    socket.data.transport = socket.conn.transport.name;
    socket.join([`org:${name}`, "staff"]);
  } else if (token === "expired") {
    return refuse("token has expired");
  } else if (token !== "") {
    return refuse("not authorized", { code: "E_FORBIDDEN", hints: ["<ask>", { an: "admin" }] });
  }
  next();
}

/** The handler "echo". */
function serve(socket, altered) {
  const on = (name, handle) => socket.on(name, (...args) => {
    const ack = typeof args.at(-1) === "function" ? args.pop() : () => {};
    handle(args, ack);
  });
  socket.emit("auth", socket.data.auth); // a recovered socket keeps that of its first handshake
  socket.on("disconnect", (why) => {
    const disconnect = disconnectOf(socket.id);
    disconnect.why = why;
    disconnect.waiting.forEach((ack) => ack(why));
  });
  on("message", (args) => socket.emit("message-back", ...(altered ? args.toReversed() : args)));
  on("message-with-ack", (args, ack) => ack(...args));
  on("whoami", (args, ack) => ack({
    id: socket.id,
    user: /^user:(.*)/.exec(socket.data.auth.token)?.[1] ?? "", // only the data outlives a connection
    rooms: [...socket.rooms].filter((room) => room !== socket.id),
    data: socket.data,
  }));
  on("never", () => {});
  on("ask", ([name, ...args], ack) => {
    const milliseconds = name === "unanswered" ? 100 : 30_000;
    socket.timeout(milliseconds).emit(name, ...args, (error, ...answer) =>
      error ? ack("error", "context deadline exceeded") : ack(...answer));
  });
  on("flood", ([n, size], ack) => {
    for (let i = 0; i < n; i++) socket.emit("drop", i, "x".repeat(size));
    ack(n);
  });
  on("kick", (args) => socket.disconnect(args.length > 0));
  on("join", (rooms, ack) => {
    socket.join(rooms);
    ack();
  });
  on("leave", (rooms, ack) => {
    rooms.forEach((room) => socket.leave(room));
    ack();
  });
  on("send", ([whom, name, ...args], ack) => {
    let broadcast = whom.everyone ? socket.nsp.except([]) : socket.broadcast;
    if (whom.to) broadcast = broadcast.to(whom.to);
    if (whom.except) broadcast = broadcast.except(whom.except);
    if (whom.volatile) broadcast = broadcast.volatile;
    broadcast.emit(name, ...args);
    ack();
  });
  on("ended", ([id], ack) => {
    const disconnect = disconnectOf(id);
    disconnect.why ? ack(disconnect.why) : disconnect.waiting.push(ack);
  });
}
