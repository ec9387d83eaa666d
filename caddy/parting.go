package caddy

import (
	"context"
	"net/http"
)

// A parting is an answer that may wait for longer than the server's time-outs.
// Over HTTP/1.x it is the last on its connection, if the configuration is about
// to stop when it is given: the connection would end with it, perhaps just when
// the client sends the next request.
type parting struct {
	http.ResponseWriter
	due      <-chan struct{} // closed when it is the last
	may      bool            // be the last
	begun    bool
	deadline answerDeadline
}

// newParting returns an answer to r. A connection that is taken over ends on its
// own terms. overdue has ended when an exit should have.
func newParting(w http.ResponseWriter, r *http.Request, due <-chan struct{}, overdue context.Context) *parting {
	return &parting{
		ResponseWriter: w,
		due:            due,
		may:            r.ProtoMajor == 1 && r.Header.Get("Upgrade") == "",
		deadline:       liftDeadlines(w, r, overdue),
	}
}

// begin is called before the header is sent.
func (p *parting) begin() {
	if p.begun {
		return
	}
	p.begun = true
	p.deadline.begin()
	if !p.may {
		return
	}
	select {
	case <-p.due:
		p.Header().Set("Connection", "close")
	default:
	}
}

// WriteHeader implements http.ResponseWriter.
func (p *parting) WriteHeader(status int) {
	p.begin()
	p.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (p *parting) Write(b []byte) (int, error) {
	p.begin()
	return p.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (p *parting) Unwrap() http.ResponseWriter { return p.ResponseWriter }
