package queue

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// A subscriber that takes one envelope at a time receives gaps in place of those that do not fit.
func TestOverflow(t *testing.T) {
	tests := []struct {
		name   string
		limits Limits
		steps  string // a number adds so many bytes, "gap" a gap; "take" lets receive return
		want   string
	}{
		{"fits", Limits{Count: 3}, "1 2 3 take take take", "1 2 3"},
		{"the newest is lost", Limits{Count: 2}, "1 2 3 4 take take take 5", "1 2 gap 5"},
		{"room in between", Limits{Count: 2}, "1 2 3 take take 4 take take", "1 2 gap 4"},
		{"two gaps", Limits{Count: 1}, "1 2 3 take take 4 5 6 take take 7", "1 gap 4 gap 7"},
		{"at the end", Limits{Count: 1}, "1 2 take take", "1 gap"},
		{"bytes", Limits{Bytes: 10}, "6 5 3 take take take 1", "6 5 gap 1"},
		{"larger than the limit", Limits{Bytes: 10}, "100 take 100 take", "100 100"},
		{"a gap in a full queue", Limits{Count: 2}, "1 2 gap gap take take take 5", "1 2 gap 5"},
		{"a gap at the end of a full queue", Limits{Count: 2}, "1 gap 2 take take take 3", "1 gap 3"},
		{"gaps in a row", Limits{Count: 9}, "1 gap gap 2 gap take take take take gap take gap", "1 gap 2 gap gap gap"},
		{"larger than the limit in a queue", Limits{Bytes: 10}, "9 100 1 take take take 2", "9 100 gap 2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// The envelope that receive has been called with does not count as waiting. So the first
				// one, of 0 bytes, keeps receive busy.
				var got []string
				take := make(chan struct{})
				q := New(test.limits, "topic", func(e cluster.Envelope) {
					if len(got) > 0 || len(e.Payload) > 0 || e.Gap {
						what := strconv.Itoa(len(e.Payload))
						if e.Gap {
							what = "gap"
						}
						got = append(got, what)
					}
					<-take
				})
				add := func(size int) {
					q.Add(cluster.Envelope{Topic: "topic", Payload: make([]byte, size)})
					synctest.Wait()
				}
				add(0)
				for step := range strings.FieldsSeq(test.steps) {
					switch step {
					case "take":
						take <- struct{}{}
						synctest.Wait()
						continue
					case "gap":
						q.AddGap()
						synctest.Wait()
						continue
					}
					var size int
					if _, err := fmt.Sscan(step, &size); err != nil {
						t.Fatal(err)
					}
					add(size)
				}
				close(take)
				synctest.Wait()
				q.Close()
				if got := strings.Join(got, " "); got != test.want {
					t.Errorf("received %s, want %s", got, test.want)
				}
			})
		})
	}
}

// An idle queue holds no memory and has no goroutine: synctest fails if one is left.
func TestIdleQueueHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 100 {
			received := 0
			q := New(Limits{}, "topic", func(cluster.Envelope) { received++ })
			q.Add(cluster.Envelope{Topic: "topic", Payload: make([]byte, 1000)})
			synctest.Wait()
			if received != 1 {
				t.Errorf("received %d, want 1", received)
			}
			if q.queue != nil || q.draining || q.waiting != 0 || q.bytes != 0 {
				t.Fatalf("idle queue keeps %d envelopes in %d places, counts %d and %d bytes", len(q.queue), cap(q.queue), q.waiting, q.bytes)
			}
		}
	})
}
