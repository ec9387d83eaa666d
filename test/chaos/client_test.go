package chaos

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// patience is how long anything may take that must happen.
const patience = time.Minute

// An observer records what a client tells.
type observer struct{ told chan string }

func (o observer) tell(format string, args ...any)           { o.told <- fmt.Sprintf(format, args...) }
func (o observer) Connected(id string, recovered bool)       { o.tell("connected %s %v", id, recovered) }
func (o observer) Event(name string, args []json.RawMessage) { o.tell("event %s %s", name, args) }
func (o observer) Lost(reason string, _ error)               { o.tell("lost: %s", reason) }
func (o observer) Refused(err error)                         { o.tell("refused: %v", err) }
func (o observer) Wrong(err error)                           { o.tell("wrong: %v", err) }

// expect waits for what the client tells next.
func (o observer) expect(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-o.told:
		if got != want {
			t.Fatalf("the client tells %q, not %q", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("the client does not tell %q", want)
	}
}

// A script is a server for polling clients. It answers GETs as the test says and keeps
// what is POSTed.
type script struct {
	*httptest.Server
	answers chan string // "" breaks the connection off; a number is a status
	posts   chan string
	opened  atomic.Int64 // connections
}

func newScript(t *testing.T) *script {
	s := &script{answers: make(chan string, 10), posts: make(chan string, 10)}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			body := make([]byte, r.ContentLength)
			_, _ = io.ReadFull(r.Body, body)
			s.posts <- string(body)
			_, _ = fmt.Fprint(w, "ok")
			return
		}
		var answer string
		select {
		case answer = <-s.answers:
		case <-r.Context().Done():
			return
		}
		switch answer {
		case "":
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_ = conn.Close()
		case "400":
			http.Error(w, "no", http.StatusBadRequest)
		default:
			_, _ = fmt.Fprint(w, answer)
		}
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.opened.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

const hello = `0{"sid":"e1","pingInterval":25000,"pingTimeout":20000}`

// connect connects a client to the script.
func (s *script) connect(t *testing.T, o *Options) (*Client, observer) {
	t.Helper()
	o.URL, o.Transport, o.Backoff = s.URL, "polling", Backoff{Delay: time.Millisecond, DelayMax: 10 * time.Millisecond}
	w := observer{make(chan string, 100)}
	c := NewClient(o, w)
	t.Cleanup(c.Close)
	s.answers <- hello
	s.wantPost(t, "40{}")
	s.answers <- `40{"sid":"s1","pid":"p1"}`
	w.expect(t, "connected s1 false")
	<-c.Connected()
	return c, w
}

func (s *script) wantPost(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-s.posts:
		if got != want {
			t.Fatalf("the client POSTs %q, not %q", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("the client does not POST %q", want)
	}
}

// TestClientRecovery checks that a client returns as the same socket, with the offset
// of its last event, and answers pings. Missed events come before it is connected.
func TestClientRecovery(t *testing.T) {
	s := newScript(t)
	_, w := s.connect(t, &Options{})
	s.answers <- "2"
	s.wantPost(t, "3")
	s.answers <- "42[\"news\",1,\"o1\"]\x1e42[\"news\",2,\"o2\"]"
	w.expect(t, "event news [1]")
	w.expect(t, "event news [2]")
	s.answers <- "1"
	w.expect(t, "lost: transport close")
	s.answers <- hello
	s.wantPost(t, `40{"offset":"o2","pid":"p1"}`)
	s.answers <- "42[\"news\",3,\"o3\"]\x1e40{\"sid\":\"s1\",\"pid\":\"p1\"}"
	w.expect(t, "event news [3]")
	w.expect(t, "connected s1 true")
	s.answers <- "400"
	w.expect(t, "lost: transport error")
	s.answers <- hello
	s.wantPost(t, `40{"offset":"o3","pid":"p1"}`)
	s.answers <- `40{"sid":"s2","pid":"p2"}`
	w.expect(t, "connected s2 false")
	s.answers <- "41"
	w.expect(t, "lost: io server disconnect") // and it stays away
}

// TestClientAcks checks that an ack reaches the caller of Emit, and that an unexpected
// ack is reported. Without an ack Emit ends in time, or with the connection.
func TestClientAcks(t *testing.T) {
	s := newScript(t)
	c, w := s.connect(t, &Options{})
	emit := func(within time.Duration) (result chan string) {
		result = make(chan string, 1)
		go func() {
			answer, err := c.Emit(within, "told", "c1", 1)
			result <- fmt.Sprintf("%s %v", answer, err)
		}()
		return result
	}
	want := func(result chan string, want string) {
		t.Helper()
		if got := <-result; got != want {
			t.Errorf("emit returns %s, not %s", got, want)
		}
	}
	first := emit(time.Minute)
	s.wantPost(t, `420["told","c1",1]`)
	s.answers <- "430[7]"
	want(first, "[7] <nil>")
	s.answers <- "430[7]"
	w.expect(t, `wrong: ack 0 [7] is of nothing, or the second one`)
	second := emit(time.Millisecond)
	s.wantPost(t, `421["told","c1",1]`)
	want(second, "[] "+ErrLate.Error())
	third := emit(time.Minute)
	s.wantPost(t, `422["told","c1",1]`)
	s.answers <- "1"
	want(third, "[] "+ErrLost.Error())
	w.expect(t, "lost: transport close")
}

// TestClientResends checks that a broken connection is an error, except for the one
// request that browsers repeat.
func TestClientResends(t *testing.T) {
	for name, resend := range map[string]bool{"as browsers do": true, "not": false} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t)
			var repeats Repeats
			_, w := s.connect(t, &Options{Resend: resend, Repeats: &repeats, NoReconnect: true})
			opened := s.opened.Load()
			s.answers <- "" // of the GET that is open
			if resend {
				s.answers <- `42["news",1]`
				w.expect(t, "event news [1]")
				if n := repeats.Stale.Load(); n != 1 {
					t.Errorf("%d requests were sent again", n)
				}
				if n := s.opened.Load(); n != opened+1 {
					t.Errorf("%d connections were opened, not 1", n-opened)
				}
				s.answers <- ""
				s.answers <- "" // now the connection is a new one
			}
			w.expect(t, "lost: transport error")
		})
	}
}

// TestConnectionStale checks that a connection that the server has closed while it was
// idle is not used.
func TestConnectionStale(t *testing.T) {
	s := newScript(t)
	address, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	var repeats Repeats
	c := &connection{address: address.Host, resend: true, repeats: &repeats}
	defer c.close()
	soon := time.Now().Add(patience)
	for range 3 {
		s.answers <- "x"
		if status, answer, err := c.do(http.MethodGet, "/", "", nil, soon); status != http.StatusOK || string(answer) != "x" || err != nil {
			t.Fatalf("the answer is %d %s, %v", status, answer, err)
		}
		s.CloseClientConnections()
		if !Await(t.Context(), func() bool { return isStale(c.conn) }) {
			t.Fatal("it is not noticed that the connection is closed")
		}
	}
	if n := repeats.Stale.Load(); n != 0 {
		t.Errorf("%d requests were sent again", n)
	}
	if n := s.opened.Load(); n != 3 {
		t.Errorf("%d connections were opened", n)
	}
}

// TestBackoff checks that pauses grow from one second to five, with jitter.
func TestBackoff(t *testing.T) {
	for attempts, mean := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second} {
		for range 1000 {
			low, high := min(mean/2, 5*time.Second), min(mean*3/2, 5*time.Second)
			if pause := (Backoff{}).pause(attempts); pause < low || pause > high {
				t.Fatalf("after %d attempts the pause is %v", attempts, pause)
			}
		}
	}
}

// TestLatency checks that quantiles are right within 4 %.
func TestLatency(t *testing.T) {
	var l Latency
	var adding sync.WaitGroup
	for i := range 4 {
		adding.Go(func() {
			for n := i + 1; n <= 100_000; n += 4 {
				l.Add(time.Duration(n) * time.Microsecond)
			}
		})
	}
	adding.Wait()
	for share, want := range map[float64]time.Duration{0.001: 100 * time.Microsecond, 0.5: 50 * time.Millisecond, 0.99: 99 * time.Millisecond} {
		if got := l.Quantile(share); float64(got) < 0.96*float64(want) || float64(got) > 1.01*float64(want) {
			t.Errorf("the quantile %v is %v, not %v", share, got, want)
		}
	}
	if l.Count() != 100_000 || l.Max() != 100*time.Millisecond {
		t.Errorf("there are %d durations up to %v", l.Count(), l.Max())
	}
}

// TestTimeline checks that events are counted by their times.
func TestTimeline(t *testing.T) {
	begin := time.Now()
	l := Timeline{times: []time.Time{begin.Add(-time.Second), begin, begin.Add(99 * time.Millisecond), begin.Add(350 * time.Millisecond)}}
	bins := l.Bins(begin, 100*time.Millisecond)
	if got := fmt.Sprint(bins); got != "[2 0 0 1]" {
		t.Errorf("the bins are %s", got)
	}
	if worst := Worst(bins, 6); worst != 4 {
		t.Errorf("the most is %v times the mean of 6 bins", worst)
	}
}
