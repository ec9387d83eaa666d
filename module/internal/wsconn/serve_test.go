package wsconn

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/module/internal/readiness"
)

// A recorder is a Receiver that records. It goes on unless its function says otherwise.
type recorder struct {
	got    chan string // opcode and payload
	failed chan error
	done   chan struct{}
	stop   atomic.Bool // the next message is the last
	pongs  atomic.Int32
}

func (r *recorder) Receive(_ *Conn, opcode int, payload []byte) bool {
	last := r.stop.Load() // the test may set it when it has the message
	r.got <- fmt.Sprint(opcode, " ", string(payload))
	return !last
}

func (r *recorder) Fail(err error) { r.failed <- err }
func (r *recorder) Done()          { close(r.done) }

// tcp returns the two ends of a TCP connection.
func tcp(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err = l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	far = conn.(*net.TCPConn)
	t.Cleanup(func() { far.Close() })
	return near, far
}

// served is a Conn that Serve reads from, and its peer.
type served struct {
	*recorder
	conn *Conn
	peer *peer
	far  *net.TCPConn
}

// serveTCP has a connection served, over TLS unless wrap is nil.
func serveTCP(t testing.TB, offer string, wrap func(near, far net.Conn) (server, client *tls.Conn)) *served {
	t.Helper()
	near, far := tcp(t)
	server, client := net.Conn(near), net.Conn(far)
	if wrap != nil {
		server, client = wrap(near, far)
	}
	c := acceptOffering(t, server, offer, Options{Queue: fixed(1000), Compress: true})
	s := &served{
		recorder: &recorder{got: make(chan string, 100), failed: make(chan error, 1), done: make(chan struct{})},
		conn:     c,
		peer:     &peer{Conn: client, reader: bufio.NewReader(client)},
		far:      far,
	}
	if r, err := http.ReadResponse(s.peer.reader, nil); err != nil || r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(r, err)
	}
	c.OnPong(func() { s.pongs.Add(1) })
	c.Serve(atMost(100_000), s.recorder)
	return s
}

// end closes the peer's side and waits for the other.
func (s *served) end(t testing.TB) {
	t.Helper()
	s.far.Close()
	within(t, "the end", s.done)
}

// taken waits until the server has read all that was sent.
func (s *served) taken(t testing.TB) {
	t.Helper()
	until(t, "the server to read", func() bool { return !s.conn.Unread() })
}

// parked waits until the connection has no goroutine, no reader and no buffer.
func (s *served) parked(t testing.TB) {
	t.Helper()
	until(t, "the connection to be left to the loop", func() bool { return isParked(s.conn) })
}

func isParked(c *Conn) bool {
	c.stream.mu.Lock()
	defer c.stream.mu.Unlock()
	return c.stream.parked && c.reader == nil && !c.stream.buffered()
}

func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("waited too long for ", what)
		}
	}
}

// links are the connections that a loop can watch.
func links(t *testing.T, test func(t *testing.T, serve func(t testing.TB, offer string) *served)) {
	t.Run("plain", func(t *testing.T) {
		test(t, func(t testing.TB, offer string) *served { return serveTCP(t, offer, nil) })
	})
	wrap := secure(t)
	t.Run("TLS", func(t *testing.T) {
		test(t, func(t testing.TB, offer string) *served { return serveTCP(t, offer, wrap) })
	})
}

func needsLoop(t testing.TB) {
	t.Helper()
	if !readiness.Available {
		t.Skip("connections have a goroutine each")
	}
}

// TestServeCut: whole messages arrive, wherever the network cuts what the peer sends.
func TestServeCut(t *testing.T) {
	long := strings.Repeat("0123456789", 30)
	for name, script := range map[string]struct {
		offer string
		sent  []byte
		want  []string
	}{
		"frames": {"", join(
			masked(fin|Text, "one"),
			masked(fin|ping, "are you there"),
			masked(Binary, "in "), masked(fin|pong, ""), masked(continuation, "three "), masked(fin|continuation, "parts"),
			masked(fin|pong, ""), masked(fin|pong, "unasked"),
			masked(fin|Text, ""),
			masked(fin|Text, "größer"),
			masked(fin|Text, long),
			masked(fin|ping, "")),
			[]string{"1 one", "2 in three parts", "1 ", "1 größer", "1 " + long}},
		"deflate": {"permessage-deflate", join(
			masked(fin|compressed|Text, deflated("one")),
			masked(fin|pong, ""),
			masked(compressed|Text, deflated(long)[:3]), masked(fin|ping, "x"), masked(fin|continuation, deflated(long)[3:]),
			masked(fin|Binary, "as it is"),
			masked(fin|ping, "y")),
			[]string{"1 one", "1 " + long, "2 as it is"}},
	} {
		t.Run(name, func(t *testing.T) {
			links(t, func(t *testing.T, serve func(t testing.TB, offer string) *served) {
				for cut := 1; cut < len(script.sent); cut++ {
					s := serve(t, script.offer)
					for _, part := range [][]byte{script.sent[:cut], script.sent[cut:]} {
						s.peer.send(t, part)
						s.taken(t)
					}
					for _, want := range script.want {
						if got := within(t, "a message", s.got); got != want {
							t.Fatalf("cut at %d: got %q, not %q", cut, got, want)
						}
					}
					s.end(t)
				}
				s := serve(t, script.offer)
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					for i := range script.sent {
						s.peer.send(t, script.sent[i:i+1])
					}
				}()
				for _, want := range script.want {
					if got := within(t, "a message", s.got); got != want {
						t.Errorf("byte by byte: got %q, not %q", got, want)
					}
				}
				within(t, "all to be sent", sent)
				s.end(t)
			})
		})
	}
}

func join(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// TestServeIdle: an idle connection has no goroutine, also after messages and control
// frames, and answers all of them.
func TestServeIdle(t *testing.T) {
	needsLoop(t)
	links(t, func(t *testing.T, serve func(t testing.TB, offer string) *served) {
		const many = 50
		before := runtime.NumGoroutine()
		var all []*served
		for range many {
			all = append(all, serve(t, ""))
		}
		for _, s := range all {
			s.parked(t)
		}
		for _, sent := range []struct {
			frame  []byte
			got    string
			answer string
			pongs  int32
		}{
			{frame: masked(fin|Text, "x"), got: "1 x"},
			{frame: masked(fin|ping, "y"), answer: "y"},
			{frame: masked(fin|pong, "z"), pongs: 1},
		} {
			for _, s := range all {
				s.peer.send(t, sent.frame)
				if sent.got != "" {
					if got := within(t, "a message", s.got); got != sent.got {
						t.Fatalf("got %q", got)
					}
				}
				if sent.answer != "" {
					if f, err := s.peer.read(); err != nil || f != (frame{pong, sent.answer}) {
						t.Fatal(f, err)
					}
				}
				s.taken(t)
				until(t, "a pong", func() bool { return s.pongs.Load() == sent.pongs })
			}
			for _, s := range all {
				s.parked(t)
			}
			until(t, "goroutines to end", func() bool { return runtime.NumGoroutine() < before+many/2 })
		}
		for _, s := range all {
			s.end(t)
		}
	})
}

// TestServeHot: a connection that is woken again soon keeps its goroutine, until it has been
// silent.
func TestServeHot(t *testing.T) {
	needsLoop(t)
	links(t, func(t *testing.T, serve func(t testing.TB, offer string) *served) {
		s := serve(t, "")
		say := func() {
			t.Helper()
			s.peer.send(t, masked(fin|Text, "x"))
			within(t, "a message", s.got)
		}
		say()
		s.parked(t)
		last := time.Now() // before what the connection read last, whose time the test does not know
		say()
		for range 10 {
			next := time.Now()
			say()
			if isParked(s.conn) && time.Since(last) < hotTime {
				t.Fatal("it has no goroutine any more")
			}
			last = next
		}
		s.parked(t)
		if silent := time.Since(last); silent < hotTime {
			t.Errorf("it lost its goroutine after %v", silent)
		}
		say()
		s.parked(t)
		s.end(t)
	})
}

// TestServeDeadline: a deadline ends the wait of a connection without a goroutine, and one
// that is lifted does not.
func TestServeDeadline(t *testing.T) {
	links(t, func(t *testing.T, serve func(t testing.TB, offer string) *served) {
		s := serve(t, "")
		s.conn.SetReadDeadline(time.Now().Add(patience))
		s.conn.SetReadDeadline(time.Time{})
		for range 3 {
			s.peer.send(t, masked(fin|Text, "x"))
			within(t, "a message", s.got)
		}
		s.conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if err := within(t, "the deadline", s.failed); !isTimeout(err) {
			t.Error(err)
		}
		s.end(t)
	})
}

// TestServeMidFrame: a peer that stops within a frame may go on after any time.
func TestServeMidFrame(t *testing.T) {
	links(t, func(t *testing.T, serve func(t testing.TB, offer string) *served) {
		s := serve(t, "")
		text := masked(fin|Text, "slow")
		for range 3 { // the second time, and the third, the connection is hot
			s.peer.send(t, text[:3])
			s.taken(t)
			time.Sleep(hotTime + hotTime/4) // its deadline, if it has one, must pass without effect
			s.peer.send(t, text[3:])
			within(t, "a message", s.got)
			s.peer.send(t, text)
			within(t, "a message", s.got)
		}
		s.peer.send(t, text[:3])
		s.taken(t)
		s.conn.Close(1000, "", false)
		s.peer.send(t, text[3:], masked(fin|closing, closePayload(1000, "")))
		within(t, "the message", s.got)
		if err := within(t, "the end", s.failed); !websocket.IsCloseError(err, 1000) {
			t.Error(err)
		}
		s.end(t)
	})
}

// TestServeEnd: however a connection ends, its receiver learns that and is done.
func TestServeEnd(t *testing.T) {
	for name, ends := range map[string]func(t *testing.T, s *served){
		"the peer closes": func(t *testing.T, s *served) {
			s.peer.send(t, masked(fin|closing, closePayload(1000, "")))
			if f, err := s.peer.read(); err != nil || f != (frame{closing, closePayload(1000, "")}) {
				t.Error(f, err)
			}
			if err := within(t, "the end", s.failed); !websocket.IsCloseError(err, 1000) {
				t.Error(err)
			}
		},
		"the peer ends its side": func(t *testing.T, s *served) {
			if err := s.peer.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Error(err)
			}
			_ = within(t, "the end", s.failed)
		},
		"the peer resets": func(t *testing.T, s *served) {
			_ = s.far.SetLinger(0)
			s.far.Close()
			_ = within(t, "the end", s.failed)
		},
		"a breach": func(t *testing.T, s *served) {
			s.peer.send(t, []byte("\x83\x80\x00\x00\x00\x00"))
			if err := within(t, "the end", s.failed); !Violation(err) {
				t.Error(err)
			}
			if f, err := s.peer.read(); err != nil || f.opcode != closing {
				t.Error(f, err)
			}
			s.far.Close()
		},
		"the server closes": func(t *testing.T, s *served) {
			s.conn.Close(1001, "", false)
			if f, err := s.peer.read(); err != nil || f != (frame{closing, closePayload(1001, "")}) {
				t.Error(f, err)
			}
			s.peer.send(t, masked(fin|closing, closePayload(1001, "")))
			if err := within(t, "the end", s.failed); !websocket.IsCloseError(err, 1001) {
				t.Error(err)
			}
		},
		"the peer does not answer": func(t *testing.T, s *served) {
			allow(s.conn, 50*time.Millisecond)
			s.conn.Close(1001, "", false)
			if err := within(t, "the end", s.failed); !isTimeout(err) {
				t.Error(err)
			}
		},
		"a write fails": func(t *testing.T, s *served) {
			_ = s.conn.stream.conn.SetWriteDeadline(time.Unix(1, 0))
			_ = s.conn.Send(Frame(Text, []byte("x")))
			_ = within(t, "the end", s.failed)
		},
		"the server cuts": func(t *testing.T, s *served) {
			s.conn.Cut()
			_ = within(t, "the end", s.failed)
		},
		"the receiver ends it": func(t *testing.T, s *served) {
			s.stop.Store(true)
			s.conn.Close(1000, "", false)
			s.peer.send(t, masked(fin|Text, "x"), masked(fin|closing, closePayload(1000, "")))
			within(t, "a message", s.got)
		},
		"a flood": func(t *testing.T, s *served) {
			go func() {
				for _, err := s.peer.Write(masked(fin|Text, strings.Repeat("x", 1000))); err == nil; {
					_, err = s.peer.Write(masked(fin|Text, strings.Repeat("x", 1000)))
				}
			}()
			for range 1000 {
				within(t, "a message", s.got)
			}
			s.stop.Store(true)
			allow(s.conn, 50*time.Millisecond)
			s.conn.Close(1008, "", false)
			for {
				select {
				case <-s.got:
					continue
				case <-s.done:
				}
				break
			}
			s.far.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			links(t, func(t *testing.T, serve func(t testing.TB, offer string) *served) {
				for _, said := range []int{0, 1, 3} { // nothing, once, and then the connection is hot
					s := serve(t, "")
					for range said {
						s.peer.send(t, masked(fin|Text, "x"))
						within(t, "a message", s.got)
						if readiness.Available && said == 1 {
							s.parked(t)
						}
					}
					ends(t, s)
					within(t, "the end", s.done)
					s.conn.SetReadDeadline(time.Now()) // too late to be of use, but allowed
					s.far.Close()
				}
			})
		})
	}
}

// TestServeEarly: what came with the handshake is served.
func TestServeEarly(t *testing.T) {
	s := make(chan string, 1)
	address := listenServing(t, func(c *Conn, r *recorder) { s <- <-r.got })
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	head := "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	if _, err := conn.Write(append([]byte(head), masked(fin|Text, "early")...)); err != nil {
		t.Fatal(err)
	}
	if got := within(t, "the message", s); got != "1 early" {
		t.Errorf("got %q", got)
	}
}

// listenServing is listen for connections that are served.
func listenServing(t testing.TB, use func(*Conn, *recorder)) string {
	t.Helper()
	return listen(t, 1000, func(c *Conn) {
		r := &recorder{got: make(chan string, 100), failed: make(chan error, 1), done: make(chan struct{})}
		c.Serve(atMost(1000), r)
		use(c, r)
		<-r.done
	})
}

// TestServeRace: whoever sets deadlines at any time meets one goroutine that reads, at most.
func TestServeRace(t *testing.T) {
	links(t, func(t *testing.T, serve func(t testing.TB, offer string) *served) {
		s := serve(t, "")
		stop := make(chan struct{})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for far := true; ; far = !far {
				select {
				case <-stop:
					return
				default:
				}
				if far {
					s.conn.SetReadDeadline(time.Now().Add(patience))
				} else {
					s.conn.SetReadDeadline(time.Time{})
				}
				runtime.Gosched()
			}
		}()
		for i := range 2000 {
			want := strconv.Itoa(i)
			s.peer.send(t, masked(fin|Text, want))
			if got := within(t, "a message", s.got); got != "1 "+want {
				t.Fatalf("got %q, not %q", got, want)
			}
		}
		close(stop)
		<-ended
		s.conn.SetReadDeadline(time.Time{})
		s.peer.send(t, masked(fin|Text, "x"))
		within(t, "a message", s.got)
		s.far.Close()
		if err := within(t, "the end", s.failed); errors.Is(err, errNoMessage) {
			t.Error(err)
		}
		within(t, "the end", s.done)
	})
}
