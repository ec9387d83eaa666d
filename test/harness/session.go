package harness

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// PollingPath is the path of an Engine.IO handshake over polling.
const PollingPath = "/socket.io/?EIO=4&transport=polling"

// A Session is an Engine.IO session over polling. It sends nothing by itself.
type Session struct {
	Server *Server
	T      testing.TB
	ID     string
	header []string
}

// OpenSession opens a session over polling. All its requests have these header fields.
func (s *Server) OpenSession(t testing.TB, header ...string) *Session {
	t.Helper()
	a := s.Request(t, "GET", PollingPath, "", header...)
	var open struct{ SID string }
	if a.Status != http.StatusOK || !strings.HasPrefix(a.Body, "0{") || json.Unmarshal([]byte(a.Body[1:]), &open) != nil {
		t.Fatalf("handshake: %d %s", a.Status, a.Body)
	}
	return &Session{s, t, open.SID, header}
}

// SessionForgotten reports whether a GET was answered that there is no such session,
// which is right some time after the session ended. ended is a time that is not before
// that end.
func SessionForgotten(a Answer, ended time.Time) bool {
	const linger = 5 * time.Second // for how long a session can be asked for its end
	return a.Status == http.StatusBadRequest && strings.Contains(a.Body, "Session ID unknown") && time.Since(ended) > linger
}

// AbortRequest sends a request, or its beginning, and closes the connection. request is
// a format with the path and the host.
func (c *Session) AbortRequest(request string) {
	c.T.Helper()
	conn, err := c.Server.DialTCP()
	if err != nil {
		c.T.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, request, c.Path(), c.Server.Address())
}

// WithHeader returns the same session for requests with other header fields, as from
// another client that knows the session's id.
func (c *Session) WithHeader(header ...string) *Session {
	return &Session{c.Server, c.T, c.ID, header}
}

// Path returns the path of the session's requests.
func (c *Session) Path() string { return PollingPath + "&sid=" + url.QueryEscape(c.ID) }

// Get sends a GET and returns its answer.
func (c *Session) Get() Answer {
	c.T.Helper()
	return c.Server.Request(c.T, "GET", c.Path(), "", c.header...)
}

// Post sends a POST and returns its answer.
func (c *Session) Post(body string, header ...string) Answer {
	c.T.Helper()
	return c.Server.Request(c.T, "POST", c.Path(), body, append(header, c.header...)...)
}

// MustPost sends a POST that the server must accept.
func (c *Session) MustPost(body string) {
	c.T.Helper()
	if a := c.Post(body); a.Status != http.StatusOK || a.Body != "ok" {
		c.T.Fatalf("POST %.100q: %d %s", body, a.Status, a.Body)
	}
}

// Connect connects to the namespace "/" and reads what the handler says on connect.
func (c *Session) Connect() {
	c.T.Helper()
	c.MustPost("40")
	got := c.Get().Body
	if !strings.HasPrefix(got, `40{"sid":"`) {
		c.T.Fatalf("CONNECT was answered %q", got)
	}
	if !strings.Contains(got, `42["auth",`) {
		if got = c.Get().Body; !strings.HasPrefix(got, `42["auth",`) {
			c.T.Fatalf("the handler said %q", got)
		}
	}
}

// CheckAlive fails the test unless the connected session gets an ack.
func (c *Session) CheckAlive() {
	c.T.Helper()
	c.MustPost(`427["message-with-ack","alive"]`)
	for {
		switch a := c.Get(); {
		case a.Status != http.StatusOK:
			c.T.Fatalf("the session has ended: %d %s", a.Status, a.Body)
		case strings.Contains(a.Body, `437["alive"]`):
			return
		}
	}
}

// Upgrade moves a connected session to WebSocket, as a client does.
func (c *Session) Upgrade() *WebSocket {
	c.T.Helper()
	w := c.Server.MustDial(c.T, WebSocketPath+"&sid="+c.ID, c.header...)
	w.ID = c.ID
	w.Send("2probe")
	if got := w.Receive(); got != "3probe" {
		c.T.Fatalf("the probe was answered %q", got)
	}
	w.Send("5")
	c.Server.Log.Wait(c.T, 0, "upgraded", "session", c.ID)
	return w
}

// WantStatus expects a status for the next GET.
func (c *Session) WantStatus(status int) {
	c.T.Helper()
	if a := c.Get(); a.Status != status {
		c.T.Errorf("the GET is answered %d %q", a.Status, a.Body)
	}
}
