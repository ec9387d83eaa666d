package realtime

// A Peer is where a client connected from, and to.
type Peer struct {
	ClientIP string
	Host     string // as the client named the server, with the port if it did
	Secure   bool   // whether it came over TLS
}

func (h *Handshake) peer() Peer { return Peer{h.ClientIP, h.Host, h.Secure} }
