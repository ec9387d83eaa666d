package wsconn

import (
	"bufio"
	"net"
	"net/http"

	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
)

// hijacker is the http.ResponseWriter that gorilla upgrades. It hijacks the
// innermost writer of the server's chain of wrappers: the ones in between
// would stay on the connection for its whole life, and keep the request alive
// with them, just to count bytes.
type hijacker struct {
	http.ResponseWriter
	queue  int // limit of the outbox, in bytes
	stream *stream
}

// Hijack implements http.Hijacker.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, brw, err := http.NewResponseController(innermost(h.ResponseWriter)).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.stream = &stream{Conn: conn, out: outbox.New(conn, h.queue)}
	return h.stream, brw, nil
}

func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}
