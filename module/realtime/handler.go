package realtime

import "context"

// A Handler is the application's side of a hub: it learns what clients do. The calls for one socket
// come one at a time, in order. Calls for different sockets are concurrent.
//
// Calls are made on the goroutine that reads from the client's connection. Until a call returns,
// nothing more is read from the client, pings included, and what the call has emitted or acked is
// held back, to be sent together with what the next events cause. A handler that waits for a moment
// calls [Flush] before; one that waits longer uses [Event.Later]. A panic is logged, and fails only
// the call.
type Handler interface {
	// HandleConnect is called when a socket has connected, or its client has recovered it, with its
	// rooms and data (see Socket.Recovered).
	HandleConnect(ctx context.Context, s *Socket)

	// HandleEvent reports whether it handled the event. If not, the next handler is asked. An
	// *Error is passed on to a client that awaits an ack. For any other error the client only
	// learns that there was one.
	HandleEvent(ctx context.Context, e *Event) (handled bool, err error)

	// HandleDisconnect is called when a socket has disconnected, with a reason in Socket.IO's
	// words. The socket's rooms can still be read. Until the call returns, the client cannot
	// recover the socket.
	HandleDisconnect(ctx context.Context, s *Socket, reason string)
}

// An UnrecoverableHandler is a Handler that wants to know when the client of a disconnected socket
// cannot recover it any more, because the application has disconnected it or the client has another
// socket. It is not called when the recovery window is over, nor before HandleDisconnect has
// returned. It must not block.
type UnrecoverableHandler interface {
	HandleUnrecoverable(s *Socket)
}

// A MovedHandler is a Handler that wants to know when another node has taken over a disconnected socket,
// since its client has recovered it there. It is called after HandleDisconnect has returned, in place of
// a HandleConnect of the recovered socket. That node's handlers get that one. It must not block.
type MovedHandler interface {
	HandleMoved(s *Socket)
}
