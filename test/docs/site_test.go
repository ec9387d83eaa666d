package docs

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
)

// patience is how long to wait for what takes a moment.
const patience = 20 * time.Second

// A site is what the commands of a page talk to: a Caddy in this process, by the
// page's own Caddyfile, at a free port in place of 8080. Where the page starts no
// backend itself there is one at a free port in place of 3000, and a client.
type site struct {
	front, back string // ports
	started     bool
	backend     *http.Server
	client      *websocket.Conn
}

func newSite(t *testing.T) *site {
	t.Helper()
	return &site{front: strconv.Itoa(harness.FreePort(t)), back: strconv.Itoa(harness.FreePort(t))}
}

var (
	frontPort = regexp.MustCompile(`\b8080\b`)
	backPort  = regexp.MustCompile(`\b3000\b`)
)

// place puts the site's ports where a text has those that pages name.
func (s *site) place(text string) string {
	return backPort.ReplaceAllString(frontPort.ReplaceAllString(text, s.front), s.back)
}

// load has Caddy run by a Caddyfile; if it does already, by another one.
func (s *site) load(b *block, ownBackend bool) error {
	config, err := adapt(s.place(b.text))
	if err != nil {
		return b.problemf("%v", err)
	}
	var c caddy.Config
	if err := json.Unmarshal(config, &c); err != nil {
		return b.problemf("%v", err)
	}
	quiet(&c)
	config, err = json.Marshal(c)
	if err != nil {
		return b.problemf("%v", err)
	}
	if err := caddy.Load(config, true); err != nil {
		return b.problemf("it does not start: %v", err)
	}
	s.started = true
	if err := s.await(s.front); err != nil {
		return b.problemf("%v", err)
	}
	if ownBackend || !strings.Contains(b.text, "localhost:3000") {
		return nil
	}
	if err := s.serve(); err != nil {
		return b.problemf("%v", err)
	}
	return s.connect(b)
}

// await returns when something listens on a port.
func (s *site) await(port string) error {
	address := net.JoinHostPort("localhost", port)
	for end := time.Now().Add(patience); ; {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(end) {
			return fmt.Errorf("nothing listens on %s: %w", address, err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// serve serves a backend that lets everybody in as the user u1, into the room
// org:1.
func (s *site) serve() error {
	listener, err := net.Listen("tcp", net.JoinHostPort("localhost", s.back))
	if err != nil {
		return err
	}
	s.backend = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var message struct {
			Type string `json:"type"`
		}
		if err := json.NewDecoder(r.Body).Decode(&message); err != nil || message.Type != "socket.connect" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		_, _ = io.WriteString(w, `{"user":"u1","data":{"role":"member"},"join":["org:1"]}`)
	})}
	go func() { _ = s.backend.Serve(listener) }() // until close
	return nil
}

// connect connects a client of Socket.IO that acks every event with "seen".
func (s *site) connect(b *block) error {
	conn, answer, err := websocket.DefaultDialer.Dial("ws://"+net.JoinHostPort("localhost", s.front)+"/socket.io/?EIO=4&transport=websocket", nil)
	if err != nil {
		return b.problemf("a client cannot connect: %v", err)
	}
	_ = answer.Body.Close()
	s.client = conn
	if err := conn.WriteMessage(websocket.TextMessage, []byte("40")); err != nil {
		return b.problemf("a client cannot connect: %v", err)
	}
	connected := make(chan struct{})
	go func() { // ends with the connection
		for {
			_, packet, err := conn.ReadMessage()
			if err != nil {
				return
			}
			s.answer(string(packet), connected)
		}
	}()
	select {
	case <-connected:
		return nil
	case <-time.After(patience):
		return b.problemf("a client does not get in")
	}
}

var eventWithID = regexp.MustCompile(`^42(\d+)\[`)

// answer does what a client does with a packet.
func (s *site) answer(packet string, connected chan<- struct{}) {
	reply := ""
	switch {
	case packet == "2":
		reply = "3"
	case strings.HasPrefix(packet, "40"):
		close(connected)
	default:
		if found := eventWithID.FindStringSubmatch(packet); found != nil {
			reply = "43" + found[1] + `["seen"]`
		}
	}
	if reply != "" {
		_ = s.client.WriteMessage(websocket.TextMessage, []byte(reply)) // whoever misses it says so
	}
}

// close ends all of it.
func (s *site) close(t *testing.T) {
	t.Helper()
	if s.client != nil {
		_ = s.client.Close()
	}
	if s.started {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	}
	if s.backend != nil {
		_ = s.backend.Close()
	}
}

// tools are the commands that blocks may use. With no others, a block that is not
// meant to be run does no harm.
var tools = []string{"bash", "base64", "cat", "curl", "env", "grep", "head", "mkdir", "node", "od", "openssl", "sed", "seq", "tail", "tr"}

// linkTools returns a folder with nothing but the tools.
func linkTools(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for _, tool := range tools {
		path, err := lookTool(tool)
		if err != nil {
			t.Fatalf("the commands of the pages need %s: %v", tool, err)
		}
		if err := os.Symlink(path, filepath.Join(folder, tool)); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}
