package scenario

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// A client sends requests, or has a WebSocket.
type client struct {
	play    *Play
	name    string
	running sync.WaitGroup

	cancel  context.CancelFunc // ends the current request
	conn    *gate              // the connection opened last
	ws      *websocket.Conn
	written chan struct{} // closed when the last write has ended
}

func (p *Play) client(name string) *client {
	c, ok := p.clients[name]
	if !ok {
		c = &client{play: p, name: name, cancel: func() {}}
		p.clients[name] = c
		p.mu.Lock()
		p.names = append(p.names, name)
		p.mu.Unlock()
	}
	return c
}

func (c *client) say(format string, args ...any) { c.play.Say(c.name, format, args...) }

func (c *client) do(what string) {
	verb, args, _ := strings.Cut(what, " ")
	if c.ws == nil && slices.Contains([]string{"frame", "binary", "close"}, verb) {
		c.play.Fatalf("%s has no WebSocket", c.name)
	}
	switch verb {
	case "ws":
		header := c.takeHeader()
		c.running.Go(func() { c.open(args, header) })
	case "frame":
		c.write(func() error { return c.ws.WriteMessage(websocket.TextMessage, []byte(args)) })
	case "binary":
		data := c.unhex(args)
		c.write(func() error { return c.ws.WriteMessage(websocket.BinaryMessage, data) })
	case "close":
		code, _ := strconv.Atoi(args)
		data := websocket.FormatCloseMessage(code, "")
		c.write(func() error { return c.ws.WriteControl(websocket.CloseMessage, data, time.Time{}) })
	case "bytes":
		data := c.unhex(args)
		c.write(func() error { _, err := c.conn.Write(data); return err })
	case "abort":
		c.abort()
	case "stall":
		c.conn.shut()
	case "read":
		c.conn.open()
	default:
		target, body, _ := strings.Cut(args, " ")
		header := c.takeHeader()
		ctx, cancel := context.WithCancel(context.Background())
		c.cancel = cancel
		c.running.Go(func() { c.request(ctx, verb, target, body, header) })
	}
}

// write writes on another goroutine, since the server may not read yet.
func (c *client) write(write func() error) {
	before, done := c.written, make(chan struct{})
	c.written = done
	c.running.Go(func() {
		defer close(done)
		if before != nil {
			<-before
		}
		if err := write(); err != nil {
			c.say("error %v", err)
		}
	})
}

func (c *client) takeHeader() http.Header {
	header := c.play.header
	c.play.header = make(http.Header)
	return header
}

func (c *client) unhex(text string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		c.play.Fatal(err)
	}
	return b
}

// abort ends whatever the client has open.
func (c *client) abort() {
	c.cancel()
	if c.conn != nil {
		_ = c.conn.Close()
	}
}

// escaped is a byte in a request's body that is written as an escape.
var escaped = regexp.MustCompile(`\\x[0-9a-f]{2}`)

// request sends a request and waits for the response.
func (c *client) request(ctx context.Context, method, target, text string, header http.Header) {
	text = escaped.ReplaceAllStringFunc(text, func(b string) string { return string(c.unhex(b[2:])) })
	body := io.Reader(strings.NewReader(text))
	if begin, more := strings.CutSuffix(text, "..."); more {
		body = io.MultiReader(strings.NewReader(begin), never{ctx})
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://example.com"+target, body)
	if err != nil {
		c.play.Error(err)
		return
	}
	r.Header = header
	transport := http.Transport{DialContext: c.dial}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(r)
	if err != nil {
		if ctx.Err() == nil {
			c.say("error %v", err)
		}
		return
	}
	c.answered(response)
}

func (c *client) answered(response *http.Response) {
	answer := []string{strconv.Itoa(response.StatusCode)}
	if response.Close { // net/http takes the header out
		response.Header.Set("Connection", "close")
	}
	for _, name := range c.play.shown {
		if values := response.Header.Values(name); len(values) > 0 {
			answer = append(answer, "{"+name+": "+strings.Join(values, ", ")+"}")
		}
	}
	body, err := readBody(response)
	if err != nil {
		answer = append(answer, "broken off")
	}
	_ = response.Body.Close()
	text := strings.TrimSpace(string(body))
	if response.Header.Get("Content-Type") == "application/octet-stream" {
		text = fmt.Sprintf("binary %x", body)
	}
	c.say("%s %s", strings.Join(answer, " "), text)
}

// readBody returns the body, decompressed.
func readBody(response *http.Response) ([]byte, error) {
	if response.Header.Get("Content-Encoding") != "gzip" {
		return io.ReadAll(response.Body)
	}
	unzipped, err := gzip.NewReader(response.Body)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(unzipped)
}

// extensions is the header in which a client offers compression.
const extensions = "Sec-WebSocket-Extensions"

// open opens a WebSocket, and reads from it until it ends.
func (c *client) open(target string, header http.Header) {
	dialer := websocket.Dialer{NetDialContext: c.dial}
	if header.Get(extensions) != "" { // gorilla makes its own offer
		header.Del(extensions)
		dialer.EnableCompression = true
	}
	ws, response, err := dialer.Dial("ws://example.com"+target, header)
	if response != nil {
		c.answered(response)
	} else if err != nil {
		c.say("error %v", err)
	}
	if err != nil {
		return
	}
	c.ws = ws
	defer func() { _ = ws.Close() }()
	for {
		kind, data, err := ws.ReadMessage()
		if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
			c.say("close %d", closed.Code)
		}
		switch {
		case err != nil:
			return
		case kind == websocket.BinaryMessage:
			c.say("binary %x", data)
		default:
			c.say("frame %s", data)
		}
	}
}

func (c *client) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, err := c.play.network.Dial(ctx)
	if err != nil {
		return nil, err
	}
	c.conn = newGate(conn)
	return c.conn, nil
}

// never is a Reader that has nothing until the context ends.
type never struct{ ctx context.Context }

func (n never) Read([]byte) (int, error) {
	<-n.ctx.Done()
	return 0, n.ctx.Err()
}
