package wsconn

import (
	"net/http"
	"strings"

	"github.com/gorilla/websocket"
)

// subprotocol returns the first of the subprotocols that a client asks for; "" if there
// is none. Socket.IO's own server accepts the first, too, whatever its name. No such
// name has a meaning here, but a client that asks for some takes an answer without any
// for a refusal (RFC 6455, section 4.1). A token that follows "bearer" is not the first,
// and so it is never sent back.
func subprotocol(r *http.Request) string {
	asked := websocket.Subprotocols(r)
	if len(asked) == 0 || !isToken(asked[0]) {
		return ""
	}
	return asked[0]
}

// isToken reports whether text is a token (RFC 9110, section 5.6.2).
func isToken(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}
