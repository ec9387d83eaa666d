package realtime

// A Conn is a socket's way to its client. Protocols implement it. Its methods
// may be called concurrently, and must not block: a client that cannot keep up
// is disconnected, it never slows the others.
type Conn interface {
	// SendConnect tells the client that it is in. It is called once, before
	// anything else.
	SendConnect(*Socket) error

	// Deliver sends a message, or queues it; in a batch, which may be nil, it
	// may be held back until that ends.
	Deliver(*Message, *Batch) error

	// Disconnect tells the client that the server made it leave the namespace, or,
	// with closing, ends the client's whole connection, its other namespaces
	// included.
	Disconnect(closing bool) error

	// Close ends the client's whole connection for a reason, such that it comes
	// back by itself.
	Close(reason string)
}

// A RecoverableConn is a Conn to a client that can come back to its socket, by
// Socket.PrivateID and the Message.Offset of the last event that it got.
type RecoverableConn interface {
	Conn

	// SendRecovered takes the place of SendConnect for a client that has come back:
	// it sends what the client missed and tells it that it is in, all of it, in
	// this order, with nothing in between. The error is ErrBacklog if that is
	// more than may wait for a client; then nothing was sent.
	SendRecovered(s *Socket, missed []*Message) error
}

// noConn is that of a socket whose client is away.
type noConn struct{}

func (noConn) SendConnect(*Socket) error      { return ErrDisconnected }
func (noConn) Deliver(*Message, *Batch) error { return ErrDisconnected }
func (noConn) Disconnect(bool) error          { return ErrDisconnected }
func (noConn) Close(string)                   {}
