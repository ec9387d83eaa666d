package wsconn

import (
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// A Relay passes the bytes of a WebSocket between its client and another server, which reads and writes
// the frames. All methods may be called concurrently.
type Relay struct {
	client   net.Conn // of HTTP/1.1, or a tunnel
	early    []byte   // what the client has sent behind its request
	server   io.ReadWriteCloser
	patience time.Duration
	opened   time.Time
	end      sync.Once
}

// Check returns why a request cannot become a WebSocket, with the status to answer it with; nil if it
// can.
func Check(r *http.Request) (status int, err error) { return checkRequest(r) }

// NewRelay answers a request, which Check lets pass, as another server has answered one with the
// same offers, and takes over its connection, or its stream if IsTunnel says so. The relay closes the
// connection to the other server. It ends if the client takes nothing for as long as patience says: the
// other server knows better, but may be gone. If NewRelay fails, the request has been answered, or its connection
// closed.
//
// The caller must then call Run, and return from its HTTP handler when that has returned.
func NewRelay(w http.ResponseWriter, r *http.Request, agreed http.Header, server io.ReadWriteCloser, patience time.Duration) (*Relay, error) {
	a := answer{subprotocol: agreed.Get("Sec-Websocket-Protocol"), agreed: agreed.Get("Sec-Websocket-Extensions")}
	relay := &Relay{server: server, patience: patience, opened: time.Now()}
	status := http.StatusSwitchingProtocols
	var err error
	if IsTunnel(r) {
		status = http.StatusOK
		relay.client = newTunnel(innermost(w), r)
		err = a.write200(innermost(w))
	} else {
		err = relay.hijack(w, a.in101(r.Header.Get("Sec-Websocket-Key")))
	}
	if err != nil {
		_ = server.Close()
		return nil, err
	}
	if innermost(w) != w {
		w.WriteHeader(status) // as in Upgrade
	}
	return relay, nil
}

// hijack takes over a connection of HTTP/1.1 and sends the answer over it.
func (r *Relay) hijack(w http.ResponseWriter, answer []byte) error {
	conn, server, err := http.NewResponseController(innermost(w)).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return err
	}
	_ = conn.SetDeadline(time.Time{}) // the server's deadlines were for the request
	early, err := server.Reader.Peek(server.Reader.Buffered())
	if err == nil {
		_, err = conn.Write(answer)
	}
	if err != nil {
		_ = conn.Close()
		return err
	}
	r.client, r.early = conn, early
	return nil
}

// Opened returns when the relay began.
func (r *Relay) Opened() time.Time { return r.opened }

// Run passes bytes both ways until either side ends, and then calls done. Over HTTP/1.1 it returns at
// once. A stream of a later version ends with its handler, and so Run returns at the end, or panics as
// Conn.Run does.
func (r *Relay) Run(done func()) {
	t, ok := r.client.(*tunnel)
	if !ok {
		go func() {
			defer done()
			r.pass()
		}()
		return
	}
	defer t.abortIfCut()
	defer done()
	r.pass()
}

// pass passes bytes both ways until either side ends.
func (r *Relay) pass() {
	var waits sync.WaitGroup
	waits.Go(func() {
		defer r.Close()
		_, _ = io.Copy(patientWriter{r.client, r.patience}, r.server)
	})
	defer waits.Wait()
	defer r.Close()
	if _, err := r.server.Write(r.early); err != nil {
		return
	}
	r.early = nil
	buffer := make([]byte, inputSize)
	for {
		n, err := r.client.Read(buffer)
		if n > 0 {
			if _, err := r.server.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// Close ends the relay. What the other server has written before it closed the connection has been
// passed on by then, if it is that end which ends the relay.
func (r *Relay) Close() {
	r.end.Do(func() {
		_ = r.server.Close()
		if t, ok := r.client.(*tunnel); ok {
			_ = t.SetWriteDeadline(time.Now().Add(closeTimeout))
		}
		_ = r.client.Close()
	})
}

// relayPiece is how many bytes are written at once. More at once would not show whether the client takes
// them.
const relayPiece = 16 << 10

// A patientWriter writes to a client in pieces. It fails if the client has not taken one in time.
type patientWriter struct {
	net.Conn
	patience time.Duration
}

func (w patientWriter) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		if err = w.SetWriteDeadline(time.Now().Add(w.patience)); err == nil {
			var m int
			m, err = w.Conn.Write(p[n:min(len(p), n+relayPiece)])
			n += m
		}
	}
	return n, err
}
