package realtime

// A Peer says where a client connected from, and to.
type Peer struct {
	ClientIP string
	Host     string // the server's name as the client wrote it, perhaps with a port
	Secure   bool   // over TLS
}

func (h *Handshake) peer() Peer { return Peer{h.ClientIP, h.Host, h.Secure} }
