//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// poller is a client of Engine.IO's transport polling, or one that sends the same requests to a
// server that knows nothing of it. It has a connection for GETs and one for POSTs, as a GET waits
// until there is something to tell.
type poller struct {
	address string
	get     httpConn
	post    httpConn
	path    string // with the session's id
	sent    int    // events
}

// httpConn is a connection that is kept alive.
type httpConn struct {
	net.Conn
	r *bufio.Reader
}

const pollingPath = "/socket.io/?EIO=4&transport=polling"

func newPoller(ctx context.Context, address string) (*poller, error) {
	p := &poller{address: address, path: pollingPath}
	for _, c := range []*httpConn{&p.get, &p.post} {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp4", address)
		if err != nil {
			p.close()
			return nil, err
		}
		deadline, _ := ctx.Deadline()
		_ = conn.SetDeadline(deadline)
		_ = conn.(*net.TCPConn).SetLinger(0)
		c.Conn, c.r = conn, bufio.NewReader(conn)
	}
	return p, nil
}

// close leaves the session open.
func (p *poller) close() {
	for _, c := range []httpConn{p.get, p.post} {
		if c.Conn != nil {
			_ = c.Close()
		}
	}
}

// request writes a request; its body is empty in a GET.
func (c *httpConn) request(method, host, path, body string) error {
	head := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\nOrigin: http://%[3]s\r\nUser-Agent: bench\r\n",
		method, path, host)
	if method == http.MethodPost {
		head = fmt.Appendf(head, "Content-Type: text/plain;charset=UTF-8\r\nContent-Length: %d\r\n", len(body))
	}
	head = append(head, "\r\n"...)
	_, err := c.Write(append(head, body...))
	return err
}

// answer reads the body of an answer, which must be good.
func (c *httpConn) answer() ([]byte, error) {
	response, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("answered with %s: %s", response.Status, body)
	}
	return body, err
}

func (p *poller) do(c *httpConn, method, body string) ([]byte, error) {
	if err := c.request(method, p.address, p.path, body); err != nil {
		return nil, err
	}
	return c.answer()
}

// open opens a new session in the default namespace. The one before stays open.
func (p *poller) open() error {
	p.path, p.sent = pollingPath, 0
	body, err := p.do(&p.get, http.MethodGet, "")
	if err != nil {
		return fmt.Errorf("opening a session: %w", err)
	}
	var handshake struct{ SID string }
	if err := json.Unmarshal(bytes.TrimPrefix(body, []byte("0")), &handshake); err != nil || handshake.SID == "" {
		return fmt.Errorf("opening a session: got %q", body)
	}
	p.path += "&sid=" + handshake.SID
	if _, err := p.do(&p.post, http.MethodPost, "40"); err != nil {
		return fmt.Errorf("connecting to the namespace: %w", err)
	}
	if body, err = p.do(&p.get, http.MethodGet, ""); err != nil {
		return fmt.Errorf("connecting to the namespace: %w", err)
	}
	if !bytes.HasPrefix(body, []byte("40{")) {
		return fmt.Errorf("connecting to the namespace: got %q", body)
	}
	return nil
}

// roundTrip sends an acked event while a GET waits for the ack. Where bare is true, any answer is
// good.
func (p *poller) roundTrip(bare bool) error {
	if err := p.get.request(http.MethodGet, p.address, p.path, ""); err != nil {
		return err
	}
	packet := fmt.Sprintf(`42%d["message","%s"]`, p.sent, strings.Repeat("x", textLength))
	if _, err := p.do(&p.post, http.MethodPost, packet); err != nil {
		return err
	}
	body, err := p.get.answer()
	if err != nil || bare {
		return err
	}
	want := fmt.Sprintf("43%d[]", p.sent)
	p.sent++
	for acked := false; ; {
		for packet := range strings.SplitSeq(string(body), "\x1e") {
			switch packet {
			case want:
				acked = true
			case "2":
				if _, err := p.do(&p.post, http.MethodPost, "3"); err != nil {
					return fmt.Errorf("answering a heartbeat: %w", err)
				}
			default:
				return fmt.Errorf("got %q, want ack %s", body, want)
			}
		}
		if acked {
			return nil
		}
		if body, err = p.do(&p.get, http.MethodGet, ""); err != nil {
			return err
		}
	}
}

// pollingSettle is the pause before memory is read with idle polling sessions. They have no
// request in flight, and would be closed after 45 s.
const pollingSettle = 5 * time.Second
