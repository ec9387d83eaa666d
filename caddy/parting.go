package caddy

import "net/http"

// A parting is an answer over HTTP/1.x that is the last on its connection, if
// the configuration is about to stop when it is given: the connection would end
// with it, perhaps just when the client sends the next request.
type parting struct {
	http.ResponseWriter
	due   <-chan struct{} // closed when it is
	begun bool
}

// newParting returns an answer to r that is one; others are as they come. A
// connection that is taken over ends on its own terms.
func newParting(w http.ResponseWriter, r *http.Request, due <-chan struct{}) *parting {
	return &parting{ResponseWriter: w, due: due, begun: r.ProtoMajor != 1 || r.Header.Get("Upgrade") != ""}
}

// begin is called before the header is sent.
func (p *parting) begin() {
	if p.begun {
		return
	}
	select {
	case <-p.due:
		p.begun = true
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
