package test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/test/harness"

	"github.com/caddy-realtime/caddy-realtime/test/chaos"
)

// TestChaosFaults checks that the fault tests can fail. It makes each fault on the
// wire, over both transports, and the checker must see it.
func TestChaosFaults(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.WithGuests, harness.Config{Site: `realtime {
		api /api/realtime {
			key ` + harness.FirstKey + `
		}
		relay {
			events chat:*
			rooms room:*
		}
	}`})
	c := &harness.APIClient{Server: s, T: t, Key: harness.FirstKey}
	for _, transport := range []string{"websocket", "polling"} {
		t.Run(transport, func(t *testing.T) {
			liar := chaos.NewSource("liar")
			crowd := func(checker *chaos.Checker) *chaos.Crowd {
				crowd := &chaos.Crowd{
					Checker: checker, Publishers: []*chaos.Publisher{{Source: liar}}, Pace: 10 * time.Millisecond, Patience: harness.Timeout,
					Kinds:   []chaos.Kind{{Name: transport, Count: 4, URL: s.URL(), Transport: transport}},
					Manner:  func(int) string { return chaos.Chat },
					Backoff: chaos.Backoff{Delay: 10 * time.Millisecond, DelayMax: 100 * time.Millisecond},
				}
				t.Cleanup(crowd.Leave)
				ctx, cancel := context.WithTimeout(t.Context(), harness.Timeout)
				defer cancel()
				if err := crowd.Connect(ctx); err != nil {
					t.Fatal(err)
				}
				// After the first round each client is in its room. After the second it has
				// received an event there.
				for range 2 {
					if err := crowd.Progress(ctx, 2); err != nil {
						t.Fatal(err)
					}
				}
				return crowd
			}
			emit := func(event string, args ...any) {
				c.T = t
				c.Do("POST", "emit", fmt.Sprintf(`{"event":%q,"everyone":true,"args":[%q,%v]}`, event, args[0], args[1]), http.StatusAccepted, nil)
			}
			for range 6 {
				liar.Ack(liar.Next())
			}
			var checker chaos.Checker
			first := crowd(&checker)
			for range 6 {
				liar.Ack(liar.Next())
			}
			for _, n := range []int{7, 8, 8, 11, 10} {
				emit("news", "liar", n)
			}
			emit("news", "nobody", 1)
			emit(chaos.Chat, "c0", 1) // of c0: for c0 itself and for c1 once more
			ctx, cancel := context.WithTimeout(t.Context(), harness.Timeout)
			defer cancel()
			if err := first.Progress(ctx, 2); err != nil { // the events before have arrived
				t.Fatal(err)
			}
			first.Stop()
			if n, words := first.Problems(); n > 0 {
				t.Errorf("clients have seen errors: %q", words)
			}
			// A client gets its ack before the other client of the room gets the event.
			if !chaos.Await(ctx, func() bool { return checker.Due() == 4 }) {
				t.Errorf("%d numbers are due, not the last one of each client", checker.Due())
			}
			said := strings.Join(checker.Verdict().Words, "\n")
			for i := range 4 {
				for _, want := range []string{
					"got 8 of liar twice", "got 10 of liar after 11: out of order", `got the event news ["nobody" 1], which is not for it`,
					"did not get 1 of liar, such as [9]", "lacks the last 1 of liar",
				} {
					if want = fmt.Sprintf("c%d %s", i, want); !strings.Contains(said, want) {
						t.Errorf("nothing is said of %q, but\n%s", want, said)
					}
				}
			}
			if want := `c0 got the event chat:number ["c0" 1], which is not for it`; !strings.Contains(said, want) {
				t.Errorf("nothing is said of %q, but\n%s", want, said)
			}
			// c0 may have sent it before c1 was in the room.
			if want := regexp.MustCompile(`c1 got 1 of c0 (twice|after \d+: out of order)`); !want.MatchString(said) {
				t.Errorf("nothing is said of %q, but\n%s", want, said)
			}
			first.Leave()
			s.WaitHealth("without sockets", func(h harness.Health) bool { return h.Sockets == 0 })

			// A client that is disconnected by the API has lost its connection.
			var other chaos.Checker
			second := crowd(&other)
			if n := c.ChangeSockets("disconnect", `{"where":{"namespace":"/"},"close":false}`); n != 4 {
				t.Fatalf("%d sockets were disconnected", n)
			}
			if !chaos.Await(ctx, func() bool { return second.Losses.Count() == 4 }) {
				t.Fatalf("%d clients have lost their connection", second.Losses.Count())
			}
			if n, words := second.Problems(); n < 4 || !strings.Contains(words[0], "lost its connection: io server disconnect") {
				t.Errorf("%d clients have seen %q", n, words)
			}
		})
	}
}
