package wsconn

import (
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"

	"github.com/gorilla/websocket"
	"golang.org/x/net/http/httpguts"
)

// checkRequest returns why a request cannot become a WebSocket, with the status to
// answer it with; nil if it can.
func checkRequest(r *http.Request) (status int, err error) {
	tunnel := IsTunnel(r)
	switch {
	case tunnel && r.ContentLength >= 0:
		return http.StatusBadRequest, errors.New("a stream that becomes a WebSocket stays open and has no content length")
	case !tunnel && r.ContentLength != 0:
		// The server would go on to read the body from the connection.
		return http.StatusBadRequest, errors.New("an upgrade request has no body")
	case !tunnel && !websocket.IsWebSocketUpgrade(r):
		return http.StatusBadRequest, errors.New("websocket: the request has no 'Connection: Upgrade' and 'Upgrade: websocket' headers")
	case !tunnel && r.Method != http.MethodGet:
		return http.StatusMethodNotAllowed, errors.New("websocket: the request's method is not GET")
	case !httpguts.HeaderValuesContainsToken(r.Header["Sec-Websocket-Version"], "13"):
		return http.StatusBadRequest, errors.New("websocket: unsupported version: 13 not found in 'Sec-Websocket-Version' header")
	case !tunnel && !isKey(r.Header.Get("Sec-Websocket-Key")):
		return http.StatusBadRequest, errors.New("websocket: not a websocket handshake: 'Sec-WebSocket-Key' header must be Base64 encoded value of 16-byte in length")
	}
	return 0, nil
}

// keySize is the length of a Sec-WebSocket-Key, the base64 of 16 bytes.
const keySize = 24

// isKey reports whether a Sec-WebSocket-Key is one (RFC 6455, section 4.1).
func isKey(key string) bool {
	var text [keySize]byte
	var decoded [keySize / 4 * 3]byte
	if len(key) != keySize {
		return false
	}
	copy(text[:], key)
	n, err := base64.StdEncoding.Decode(decoded[:], text[:])
	return err == nil && n == 16
}

// An answer is what the answer to a handshake says, whichever version of HTTP it is
// written in.
type answer struct {
	subprotocol string // "" for none
	deflates    bool   // permessage-deflate is accepted
	window      bool   // the client has asked for the size of our window
	agreed      string // extensions that another server has accepted, in the place of the above
}

// answerTo returns the answer to a request that checkRequest lets pass.
func answerTo(r *http.Request, compress bool) answer {
	a := answer{subprotocol: subprotocol(r)}
	if compress {
		var o offer
		o, a.deflates = acceptOffer(r.Header)
		a.window = o.window
	}
	return a
}

// extensions returns the Sec-WebSocket-Extensions header; "" for none.
func (a *answer) extensions() string {
	const accepted = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	switch {
	case a.agreed != "" || !a.deflates:
		return a.agreed
	case a.window: // RFC 7692, section 7.1.2.1
		return fmt.Sprintf("%s; server_max_window_bits=%d", accepted, windowBits)
	}
	return accepted
}

// in101 returns the answer in HTTP/1.1 to a request with this Sec-WebSocket-Key (RFC
// 6455, section 4.2.2).
func (a *answer) in101(key string) []byte {
	text := append(make([]byte, 0, 160), "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	var proof [keySize + 36]byte
	copy(proof[copy(proof[:], key):], "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
	sum := sha1.Sum(proof[:])
	text = base64.StdEncoding.AppendEncode(text, sum[:])
	text = append(text, "\r\n"...)
	if a.subprotocol != "" {
		text = append(append(append(text, "Sec-WebSocket-Protocol: "...), a.subprotocol...), "\r\n"...)
	}
	if extensions := a.extensions(); extensions != "" {
		text = append(append(append(text, "Sec-WebSocket-Extensions: "...), extensions...), "\r\n"...)
	}
	return append(text, "\r\n"...)
}

// write200 writes the answer in HTTP/2 or later (RFC 8441, section 5): status 200, and
// none of the headers that only a connection of HTTP/1.1 needs.
func (a *answer) write200(w http.ResponseWriter) error {
	if a.subprotocol != "" {
		w.Header().Set("Sec-WebSocket-Protocol", a.subprotocol)
	}
	if extensions := a.extensions(); extensions != "" {
		w.Header().Set("Sec-WebSocket-Extensions", extensions)
	}
	w.WriteHeader(http.StatusOK)
	return http.NewResponseController(w).Flush()
}
