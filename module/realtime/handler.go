package realtime

import "context"

// A Handler is the application's side of a hub: it learns what clients do. A
// socket's calls come one at a time, in order, and concurrently with those of
// other sockets.
//
// They are made on the goroutine that reads from the client's connection: until
// a call returns nothing more is read from it, pings included, and what was
// emitted or acked is held back, to be sent with what the next events cause. A
// handler that waits for a moment calls Flush before; one that has to wait
// longer uses Event.Later. A panic is logged, and fails only
// what it happened in.
type Handler interface {
	// HandleConnect is called when a socket has connected, or its client has
	// come back to it (Socket.Recovered), with the rooms and data that it had.
	HandleConnect(ctx context.Context, s *Socket)

	// HandleEvent reports whether it handled the event; if not, the next
	// handler is asked. An *Error is passed on to a client that awaits an ack;
	// of any other error it learns only that there was one.
	HandleEvent(ctx context.Context, e *Event) (handled bool, err error)

	// HandleDisconnect is called when a socket that had connected is gone, with
	// the reason in Socket.IO's words. Its rooms can still be read. Until the
	// call returns, its client cannot come back to it.
	HandleDisconnect(ctx context.Context, s *Socket, reason string)
}

// A UnrecoverableHandler is a Handler that wants to know when a client that is away, of
// whose socket HandleDisconnect has been called, cannot come back to it any more:
// the application has disconnected it, or the client has another socket. It is not
// called when the time to come back is over. It must not block.
type UnrecoverableHandler interface {
	HandleUnrecoverable(s *Socket)
}
