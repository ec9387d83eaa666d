// Package realtime is the core of the server: it knows who is connected, in which rooms, and who
// gets which event. It knows no protocol, not even HTTP, and nothing of Caddy.
//
// A [Hub] holds [Namespace]s, a namespace holds [Socket]s and their rooms, and a [Broadcast]
// delivers one [Message] to many sockets. The application takes part by an [Authenticator], which
// decides who may connect, and by [Handler]s, which learn what clients do. A protocol takes part by
// a [Conn] for each socket, which carries messages to the client:
//
//	hub, err := realtime.NewHub(realtime.Options{})
//	endpoint := realtime.NewEndpoint("default", hub, func() (*realtime.Policy, func()) { ... })
//	socket, err := hub.Lookup("/").Connect(ctx, &realtime.Handshake{Endpoint: endpoint, ...}, conn)
//	err = hub.Namespace("/").To("room").Emit(ctx, "event", realtime.String("argument"))
//
// Each event of a socket is handled when the one before has been. Events to one room reach all of its
// members in the same order. The hub never blocks on a socket.
//
// Where to find what:
//
//   - Sockets: hub.go, namespaces.go, namespace.go, socket.go, socketid.go, socketset.go, rooms.go,
//     users.go, expiry.go.
//   - Who may connect, and their limits: connect.go, auth.go, endpoint.go, limits.go, pending.go,
//     peer.go, glob.go.
//   - Events of clients: event.go, handler.go, guestcall.go, serialqueue.go, pool.go.
//   - Events to clients: broadcast.go, target.go, message.go, arg.go, inline.go, order.go, batch.go,
//     conn.go, memory.go. Their acks: ack.go, request.go, ackcollector.go.
//   - Recovery of sockets: recoverystore.go, history.go, recoverystate.go, membershiplog.go,
//     disconnected.go, recover.go, revocation.go. In another process: snapshot.go, fingerprint.go. At
//     another node: takeover.go, arrival.go, movedsocket.go, importedevents.go, origin.go.
//   - What is asked of all nodes: nodes.go, operation.go, selector.go, page.go. Each operation:
//     socketinfo.go, change.go, roomlist.go, presence.go, nodestats.go, request.go.
//   - Servers of other kinds: bridge.go.
//   - Other nodes: brokerlink.go, remotebroadcast.go, routes.go, interest.go, copies.go, backup.go,
//     occupancy.go.
package realtime
