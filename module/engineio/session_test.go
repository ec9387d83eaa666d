package engineio

import (
	"context"
	"encoding/base64"
	"math/bits"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/connection"
	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
)

// TestID: an id has 128 bits, each of which is random. A counter, a clock or a constant
// part would show (CVE-2017-16031).
func TestID(t *testing.T) {
	const n, bitsOfID = 4096, 128
	const deviation = 6 * 32 // six times the standard deviation, sqrt(n)/2
	var ones, flips [bitsOfID]int
	seen := make(map[string]bool, n)
	var last []byte
	for range n {
		id := randid.New()
		if seen[id] {
			t.Fatalf("%s comes twice", id)
		}
		seen[id] = true
		raw, err := base64.RawURLEncoding.DecodeString(id)
		if err != nil || len(raw)*8 != bitsOfID {
			t.Fatalf("%s has %d bits, %v", id, len(raw)*8, err)
		}
		for bit := range bitsOfID {
			one := func(b []byte) int { return int(b[bit/8] >> (bit % 8) & 1) }
			ones[bit] += one(raw)
			if last != nil {
				flips[bit] += one(raw) ^ one(last)
			}
		}
		last = raw
	}
	for bit := range bitsOfID {
		for what, count := range map[string]int{"is one": ones[bit], "changes": flips[bit]} {
			if count < n/2-deviation || count > n/2+deviation {
				t.Errorf("bit %d %s %d times in %d", bit, what, count, n)
			}
		}
	}

	// An id says nothing about the next one either: half of the bits differ.
	a, _ := base64.RawURLEncoding.DecodeString(randid.New())
	b, _ := base64.RawURLEncoding.DecodeString(randid.New())
	same := 0
	for i := range a {
		same += bits.OnesCount8(^(a[i] ^ b[i]))
	}
	if same < 20 || same > 108 { // eight standard deviations
		t.Errorf("%d of %d bits are the same in two ids", same, bitsOfID)
	}
}

// silent is a receiver that has a timer until it is closed, such as the time-out of a
// client that sends nothing.
type silent struct{ timer *time.Timer }

func (silent) Receive(Packet, *Batch) {}
func (s silent) Closed(string)        { s.timer.Stop() }

func acceptSilent(s *Session) Receiver {
	return silent{time.AfterFunc(45*time.Second, func() { s.Close(reason.ForcedClose) })}
}

func handshakeRequest() *http.Request {
	return httptest.NewRequest(http.MethodGet, "/socket.io/?EIO=4&transport=polling", nil)
}

// TestOpenWhileClosing: a session that comes too late for a server is not opened, and
// leaves nothing behind.
func TestOpenWhileClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var server *Server
		o := Options{Options: connection.Options{ClientIP: func(*http.Request) string {
			// A new session has been allowed, and is being made.
			if err := server.Close(context.Background(), 0); err != nil {
				t.Error(err)
			}
			return ""
		}}}.WithDefaults()
		server = NewServer(func() *Options { return o }, acceptSilent)
		w := httptest.NewRecorder()
		server.ServeHTTP(w, handshakeRequest())
		if w.Code != http.StatusServiceUnavailable {
			t.Errorf("status %d", w.Code)
		}
		time.Sleep(time.Minute)
	})
}

// TestPollOfEndedSession: a GET that has found its session just before the session ends is
// answered, and not held for ever.
func TestPollOfEndedSession(t *testing.T) {
	for _, how := range []ending{flush, discard, closedByPeer, gone} {
		synctest.Test(t, func(t *testing.T) {
			var session *Session
			o := Options{}.WithDefaults()
			server := NewServer(func() *Options { return o }, func(s *Session) Receiver {
				session = s
				return acceptSilent(s)
			})
			server.ServeHTTP(httptest.NewRecorder(), handshakeRequest())
			session.end(reason.TransportClose, how)
			ctx, giveUp := context.WithCancel(context.Background())
			defer giveUp()
			answered := 0
			for range 2 { // the first may get what is left
				go func() {
					session.servePoll(httptest.NewRecorder(), handshakeRequest().WithContext(ctx), nil)
					answered++
				}()
				synctest.Wait()
			}
			if answered != 2 {
				t.Errorf("%d of 2 are answered after ending %d", answered, how)
			}
		})
	}
}
