package realtime

// A Conn is a socket's connection to its client. Protocols implement it. All methods may be called
// concurrently. They must not block: a client that cannot keep up is disconnected, and never slows
// the others.
type Conn interface {
	// SendConnect tells the client that it is connected. It is called once, before any other
	// method.
	SendConnect(*Socket) error

	// Deliver sends a message or queues it. If batch is not nil, it may hold the message back until
	// the batch is closed.
	Deliver(m *Message, batch *Batch) error

	// Disconnect tells the client that the server disconnected it from the namespace. If closing is
	// true, it ends the client's whole connection instead, with all of its namespaces.
	Disconnect(closing bool) error

	// Close ends the client's whole connection in a way that makes the client reconnect by itself.
	Close(reason string)
}

// A RecoverableConn is a Conn whose client can recover its socket, with Socket.PrivateID and the
// Message.Offset of the last event that it got.
type RecoverableConn interface {
	Conn

	// SendRecovered is called in place of SendConnect if the client has recovered its socket. It
	// sends the missed events and that the client is connected, in this order, with nothing in
	// between. The error is ErrBacklog if the outbound queue has no room for that; then it has sent
	// nothing.
	SendRecovered(s *Socket, missed []*Message) error
}

// noConn is the connection of a disconnected socket.
type noConn struct{}

func (noConn) SendConnect(*Socket) error      { return ErrDisconnected }
func (noConn) Deliver(*Message, *Batch) error { return ErrDisconnected }
func (noConn) Disconnect(bool) error          { return ErrDisconnected }
func (noConn) Close(string)                   {}
