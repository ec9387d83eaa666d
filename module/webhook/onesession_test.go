package webhook

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/wal/waltest"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A lonely handler has each socket that connects send the others of its user
// away.
type lonely struct{}

func (lonely) HandleConnect(_ context.Context, s *realtime.Socket) {
	for _, other := range s.Namespace().Find(realtime.Selector{Users: []string{s.User()}, ConnectedOnly: true}) {
		if other.ID() != s.ID() {
			_ = other.Disconnect(true) // another may be faster
		}
	}
}

func (lonely) HandleEvent(context.Context, *realtime.Event) (bool, error) { return false, nil }
func (lonely) HandleDisconnect(context.Context, *realtime.Socket, string) {}

// TestOneSessionPerUser has clients send one another away as soon as they have
// connected, on any goroutine: the backend is told of each that is gone, once, and
// none is taken for one that is there.
func TestOneSessionPerUser(t *testing.T) {
	for _, recovery := range []time.Duration{0, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			l := &recorder{status: 204}
			p := run(t, waltest.New(), l, recovery)
			handlers := []realtime.Handler{lonely{}, p.backend}
			p.endpoint = realtime.NewEndpoint("test", p.hub, func() (*realtime.Policy, func()) {
				return &realtime.Policy{Authenticators: []realtime.Authenticator{p.backend}, Handlers: handlers}, func() {}
			})
			const clients, at = 400, 8
			var ids []string
			var mu sync.Mutex
			var running sync.WaitGroup
			for range at {
				running.Go(func() {
					for range clients / at {
						s, err := p.hub.Namespace("/").Connect(context.Background(), p.handshake(), recoverable{new(client)})
						if err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						ids = append(ids, s.ID())
						mu.Unlock()
					}
				})
			}
			running.Wait()
			for _, s := range p.hub.Namespace("/").Sockets() {
				_ = s.Disconnect(true)
			}
			time.Sleep(2 * time.Minute)
			r := &p.queue.records
			r.mu.Lock()
			present, records := len(r.present), r.log.Len()
			r.mu.Unlock()
			if present != 0 || records != 0 {
				t.Errorf("%d sockets are taken for ones that are there, and %d records are left", present, records)
			}
			told, _ := l.take()
			var gone []string
			for _, m := range told {
				if m.Type == "socket.disconnect" {
					gone = append(gone, m.Data.Socket.ID)
				}
			}
			slices.Sort(ids)
			slices.Sort(gone)
			if !slices.Equal(gone, ids) {
				t.Errorf("with recovery for %v: told of %d, of %d that were there", recovery, len(gone), len(ids))
			}
			p.exit()
		})
	}
}

// TestNoReturn: the backend is told of a client that is away when it is sure that
// it does not come back, whether it is disconnected before or after the backend
// would otherwise begin to wait for it.
func TestNoReturn(t *testing.T) {
	for name, test := range map[string]struct {
		disconnect bool
		after      time.Duration
	}{
		"disconnected":      {true, 4 * time.Second},
		"not disconnected":  {false, time.Minute + 2*time.Second},
		"disconnected late": {true, 44 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &recorder{status: 204}
				p := run(t, waltest.New(), l, time.Minute)
				s := p.connectRecoverable()
				s.HandleDisconnect("transport close")
				if test.disconnect {
					time.Sleep(test.after - 2*time.Second)
					for _, s := range p.hub.Namespace("/").Find(realtime.Selector{Users: []string{"u1"}}) {
						if err := s.Disconnect(false); err != nil {
							t.Error(err)
						}
					}
				} else {
					time.Sleep(test.after - 4*time.Second)
					if told, _ := l.take(); len(told) > 0 {
						t.Error("the backend is told too early")
					}
					time.Sleep(2 * time.Second)
				}
				time.Sleep(2 * time.Second)
				if told, _ := l.take(); len(told) != 1 || told[0].Data.Socket.ID != s.ID() {
					t.Errorf("the backend is told of %d", len(told))
				}
				p.exit()
			})
		})
	}
}
