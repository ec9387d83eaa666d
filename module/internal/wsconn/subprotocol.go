package wsconn

import (
	"net/http"
	"strings"

	"github.com/gorilla/websocket"
)

// subprotocol returns the header that accepts the first of the subprotocols that
// a client asks for, as Socket.IO's own server does, whatever its name. No such
// name has a meaning here, but a client that asks for any takes an answer
// without one for a refusal (RFC 6455, section 4.1). What follows "bearer" is a
// token and is never sent back: it is not the first.
func subprotocol(r *http.Request) http.Header {
	asked := websocket.Subprotocols(r)
	if len(asked) == 0 || !isToken(asked[0]) {
		return nil
	}
	return http.Header{"Sec-Websocket-Protocol": asked[:1]}
}

// isToken reports whether text is a token (RFC 9110, section 5.6.2).
func isToken(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}
