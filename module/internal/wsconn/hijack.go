package wsconn

import (
	"bufio"
	"errors"
	"net"
	"net/http"
)

// hijacker is the http.ResponseWriter that gorilla upgrades. It hijacks the
// innermost writer of the server's chain of wrappers: the ones in between
// would stay on the connection for its whole life, and keep the request alive
// with them, just to count bytes.
type hijacker struct {
	http.ResponseWriter
	tunnel    *tunnel // what is given away in place of a connection; nil over HTTP/1.1
	options   Options
	deflating *deflating // the stream's; nil: not negotiated
	stream    *stream
}

// Hijack implements http.Hijacker.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if h.tunnel != nil {
		h.stream = newStream(h.tunnel, h.options)
		h.stream.accept, h.stream.deflating = h.tunnel.accept, h.deflating
		return h.stream, bufio.NewReadWriter(h.stream.buffer, bufio.NewWriter(h.stream)), nil
	}
	conn, brw, err := http.NewResponseController(innermost(h.ResponseWriter)).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.stream = newStream(conn, h.options)
	h.stream.deflating = h.deflating
	// What came behind the request, in the same segment, belongs to the WebSocket:
	// clients need not wait for the answer.
	early, err := brw.Reader.Peek(brw.Reader.Buffered())
	if err == nil && len(early) > inputSize {
		err = errors.New("more was sent behind a handshake than its buffer holds")
	}
	if err != nil {
		return nil, nil, err // Upgrade closes the connection
	}
	h.stream.keep(early)
	brw.Reader = h.stream.buffer // gorilla refuses one that is not empty
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
