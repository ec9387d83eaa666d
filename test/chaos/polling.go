package chaos

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// separator stands between the packets of a payload; see engine.io-protocol.
const separator = 0x1e

// A poller is a transport over polling. A GET is always open. Packets go out in one
// POST after the other.
type poller struct {
	path     string
	get      *connection
	post     *connection
	answered []byte // what is left of the last GET's answer

	mu      sync.Mutex
	queue   []byte // packets that wait for the POST in flight
	posting bool
	failed  error // why the POSTs have ended
	closed  bool
	posts   sync.WaitGroup
}

// openPoller opens a session by a GET.
func openPoller(_ context.Context, o *Options, deadline time.Time) (*poller, error) {
	address, err := url.Parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("parsing the server's address: %w", err)
	}
	var trust *tls.Config
	if address.Scheme == "https" {
		trust = o.TLS
	}
	header := ""
	if o.Origin != "" {
		header = "Origin: " + o.Origin + "\r\n"
	}
	open := func() *connection {
		return &connection{address: address.Host, trust: trust, header: header, resend: o.Resend, repeats: o.Repeats}
	}
	p := &poller{path: o.path() + "?EIO=4&transport=polling", get: open(), post: open()}
	status, answer, err := p.get.do(http.MethodGet, p.path, "", nil, deadline)
	if err == nil && status != http.StatusOK {
		err = problem(http.MethodGet, status, answer)
	}
	if err != nil {
		p.get.close()
		return nil, err
	}
	p.answered = answer
	return p, nil
}

// begin sets the session's id, which the first packet has.
func (p *poller) begin(h handshake) { p.path += "&sid=" + h.SID }

func (p *poller) read(deadline time.Time) ([]byte, error) {
	if len(p.answered) == 0 {
		status, answer, err := p.get.do(http.MethodGet, p.path, "", nil, deadline)
		if err == nil && status != http.StatusOK {
			err = problem(http.MethodGet, status, answer)
		}
		if failed := p.failure(); failed != nil {
			err = failed // what ended the GET, too
		}
		if err != nil {
			return nil, err
		}
		p.answered = answer
	}
	packet, rest, _ := bytes.Cut(p.answered, []byte{separator})
	p.answered = rest
	if len(packet) == 0 {
		return nil, errors.New("a GET is answered with an empty packet")
	}
	return packet, nil
}

func (p *poller) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

func (p *poller) write(packet []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.failed != nil {
		return errClosed
	}
	if len(p.queue) > 0 {
		p.queue = append(p.queue, separator)
	}
	p.queue = append(p.queue, packet...)
	if !p.posting {
		p.posting = true
		p.posts.Go(p.send)
	}
	return nil
}

// send POSTs the queued packets until there are none.
func (p *poller) send() {
	for {
		p.mu.Lock()
		body := p.queue
		p.queue = nil
		if len(body) == 0 || p.closed {
			p.posting = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		status, answer, err := p.post.do(http.MethodPost, p.path, "Content-Type: text/plain;charset=UTF-8\r\n", body, time.Now().Add(writeTimeout))
		if err == nil && (status != http.StatusOK || string(answer) != "ok") {
			err = problem(http.MethodPost, status, answer)
		}
		if err != nil {
			p.mu.Lock()
			p.failed, p.posting = err, false
			p.mu.Unlock()
			p.get.close()
			return
		}
	}
}

func (p *poller) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.get.close()
	p.post.close()
	p.posts.Wait()
}

// decodeHandshake decodes the first packet of a session.
func decodeHandshake(packet []byte) (handshake, error) {
	var h handshake
	if len(packet) == 0 || packet[0] != engineOpen {
		return h, fmt.Errorf("the first packet is %.100q", packet)
	}
	if err := json.Unmarshal(packet[1:], &h); err != nil {
		return h, fmt.Errorf("decoding the handshake: %w", err)
	}
	return h, nil
}
