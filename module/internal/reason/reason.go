// Package reason lists the reasons why connections and sockets end. They are Socket.IO's own words,
// where it has one, since front ends and log searches know them.
package reason

// The reasons why connections and sockets end.
const (
	TransportClose   = "transport close"             // the peer, or the network, closed the connection
	TransportError   = "transport error"             // the peer broke the transport's protocol
	PingTimeout      = "ping timeout"                // the peer did not answer a ping in time
	ParseError       = "parse error"                 // the peer sent an invalid packet, or one out of place
	ClientDisconnect = "client namespace disconnect" // the client left the namespace
	ServerDisconnect = "server namespace disconnect" // the application disconnected it
	ShuttingDown     = "server shutting down"        // the node or the endpoint shuts down
	ForcedClose      = "forced close"                // the server closed the connection
	SlowConsumer     = "slow consumer"               // the outbound queue was full
	Limit            = "limit"                       // a configured limit was exceeded
	Expired          = "expired"                     // the identity has expired
)

// CloseCode returns the WebSocket close code (RFC 6455, section 7.4.1) for a reason. 0 means a
// close frame without a code, which is what Socket.IO's server sends.
func CloseCode(reason string) int {
	switch reason {
	case ShuttingDown:
		return 1001
	case Limit, Expired:
		return 1008
	case SlowConsumer:
		return 1013
	}
	return 0
}
