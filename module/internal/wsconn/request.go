package wsconn

import (
	"net/http"

	"github.com/gorilla/websocket"
)

// Requested reports whether a request asks for a WebSocket, over any version of HTTP:
// by GET and an Upgrade header (RFC 6455, section 4.2.1), or as IsTunnel says.
func Requested(r *http.Request) bool { return IsTunnel(r) || websocket.IsWebSocketUpgrade(r) }

// IsTunnel reports whether a request asks for its HTTP/2 or HTTP/3 stream to become a
// WebSocket: by CONNECT and the pseudo-header :protocol (RFC 8441, section 4; RFC 9220).
// net/http keeps the pseudo-header among the headers, where no client can put such a
// name by itself. quic-go keeps it in place of the version.
func IsTunnel(r *http.Request) bool {
	if r.Method != http.MethodConnect {
		return false
	}
	switch r.ProtoMajor {
	case 2:
		return r.Header.Get(":protocol") == "websocket"
	case 3:
		return r.Proto == "websocket"
	}
	return false
}
