package engineio

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/connection"
	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
	"github.com/caddy-realtime/caddy-realtime/module/internal/scenario"
)

// An observer remembers why its session ended.
type observer struct {
	session *Session

	mu  sync.Mutex
	why []string
}

func (*observer) Receive(Packet, *Batch) {}

func (o *observer) Closed(why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.why = append(o.why, why)
}

func (o *observer) ended() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.why
}

// observe returns a server with a budget, and the observers of its sessions.
func observe(t testing.TB, most int64, options Options) (*Server, *outbox.Budget, *[]*observer) {
	t.Helper()
	all := new([]*observer)
	o := options.WithDefaults()
	server := NewServer(func() *Options { return o }, func(s *Session) Receiver {
		*all = append(*all, &observer{session: s})
		return (*all)[len(*all)-1]
	})
	budget := outbox.NewBudget(most)
	server.SetBudget(budget)
	t.Cleanup(func() {
		if err := server.Close(context.Background(), 0); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * linger) // nobody fetches the last that was sent
		budget.Close()
		if n := budget.Used(); n != 0 {
			t.Errorf("%d bytes are held for nobody", n)
		}
	})
	return server, budget, all
}

// pollOnce returns the answer to a GET.
func pollOnce(server *Server, s *Session) string {
	w := httptest.NewRecorder()
	server.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/socket.io/?EIO=4&transport=polling&sid="+s.ID(), nil))
	return w.Body.String()
}

func large(size int) *PacketGroup {
	return NewPacketGroup(Packet{Type: Message, Data: bytes.Repeat([]byte("x"), size)})
}

// TestPollingGroup: more than may wait for long does not end a client that is between two
// GETs.
func TestPollingGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, budget, all := observe(t, 1<<30, Options{})
		const members, events, size = 3, 3, 600_000
		for range members {
			server.ServeHTTP(httptest.NewRecorder(), handshakeRequest())
		}
		for range events {
			b := large(size)
			for _, o := range *all {
				if err := o.session.Send(b); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n := budget.Used(); n < events*size || n > 3*events*size {
			t.Errorf("%d bytes are held: the members share them", n)
		}
		for _, o := range *all {
			if n := o.session.Queued(); n != events*(size+1) {
				t.Errorf("%d bytes wait", n)
			}
			time.Sleep(6 * time.Second)
			if got := pollOnce(server, o.session); len(got) < events*size || len(o.ended()) > 0 {
				t.Errorf("%d bytes arrived; ended: %q", len(got), o.ended())
			}
		}
		if n := budget.Used(); n != 0 {
			t.Errorf("%d bytes are held when all is sent", n)
		}
	})
}

// TestPollingMemory: small packets take more memory than they have bytes, and are counted
// as that.
func TestPollingMemory(t *testing.T) {
	const queue, most = 100_000, 32 // times as much, at once
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // and what finalizers held
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	synctest.Test(t, func(t *testing.T) {
		server, budget, all := observe(t, 1<<30, Options{Options: connection.Options{MaxQueue: queue}})
		server.ServeHTTP(httptest.NewRecorder(), handshakeRequest())
		session := (*all)[0].session
		before, acks, used := heap(), 0, int64(0)
		for ; ; acks++ {
			if acks%1000 == 0 {
				used = budget.Used()
				if grown := heap() - before; grown > 2*most*queue {
					t.Fatalf("%d acks hold %d bytes, of which %d are known", acks, grown, used)
				}
			}
			if err := session.Send(NewPacketGroup(Packet{Type: Message, Data: []byte("31[]")})); err != nil {
				if !errors.Is(err, outbox.ErrFull) {
					t.Error(err)
				}
				break
			}
		}
		t.Logf("%d acks were held as %d bytes", acks, used)
		if acks < 1000 || used < most*queue*8/10 {
			t.Errorf("ended after %d acks, held as %d bytes", acks, used)
		}
	})
}

// TestStalledAnswer: a client that does not read the answer to its GET is ended like a
// client without a GET, and its answer with it.
func TestStalledAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, budget, all := observe(t, 1<<30, Options{Options: connection.Options{MaxQueue: 1000}})
		listener := scenario.Listen()
		s := &http.Server{Handler: server, ErrorLog: log.New(io.Discard, "", 0)}
		done := make(chan error)
		go func() { done <- s.Serve(listener) }()
		get := func(query string) net.Conn {
			conn, err := listener.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, "GET /socket.io/?EIO=4&transport=polling"+query+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			return conn
		}
		first := get("")
		if r, err := http.ReadResponse(bufio.NewReader(first), nil); err != nil || r.StatusCode != http.StatusOK {
			t.Fatal(r, err)
		}
		o := (*all)[0]
		if err := o.session.Send(large(500_000)); err != nil {
			t.Fatal(err)
		}
		conn := get("&sid=" + o.session.ID())
		synctest.Wait()
		if n := o.session.Queued(); n != 500_001 {
			t.Errorf("%d bytes are on their way", n)
		}
		time.Sleep(connection.DefaultPingTimeout - time.Millisecond)
		reader := bufio.NewReader(conn)
		if _, err := io.CopyN(io.Discard, reader, answerPiece+1000); err != nil { // it takes a piece
			t.Fatal(err)
		}
		time.Sleep(connection.DefaultPingTimeout - time.Millisecond)
		synctest.Wait()
		if len(o.ended()) > 0 {
			t.Errorf("ended while it read: %q", o.ended())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !slices.Equal(o.ended(), []string{"slow consumer"}) || budget.Used() != 0 {
			t.Errorf("ended: %q; %d bytes are held", o.ended(), budget.Used())
		}
		if n, err := io.Copy(io.Discard, reader); err == nil && n > 400_000 {
			t.Errorf("%d bytes more arrived", n)
		}
		first.Close()
		s.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

// TestEvicted: if sessions hold too much together, those are ended that take nothing.
func TestEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, budget, all := observe(t, 500_000, Options{})
		for range 3 {
			server.ServeHTTP(httptest.NewRecorder(), handshakeRequest())
		}
		silent, reading, little := (*all)[0], (*all)[1], (*all)[2]
		send := func(o *observer, size int) {
			t.Helper()
			if err := o.session.Send(large(size)); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		send(silent, 100_000)
		send(little, 10)
		time.Sleep(3 * time.Second)
		send(reading, 100_000)
		if n := len(silent.ended()) + len(reading.ended()) + len(little.ended()); n != 0 {
			t.Fatal("ended early:", n)
		}
		send(reading, 100_000) // each is twice as large, with what it becomes when it is sent
		if !slices.Equal(silent.ended(), []string{"slow consumer"}) || len(reading.ended())+len(little.ended()) > 0 {
			t.Errorf("ended: %q, %q, %q", silent.ended(), reading.ended(), little.ended())
		}
		if got := pollOnce(server, reading.session); strings.Count(got, "x") != 200_000 {
			t.Errorf("who reads got %d bytes", len(got))
		}
		if n := budget.Used(); n > 1000 {
			t.Errorf("%d bytes are held", n)
		}
	})
}
