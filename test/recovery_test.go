package test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
)

// recoveryConfig is a configuration with recovery.
func recoveryConfig(options, more string) harness.Config {
	return harness.Config{
		Global: "realtime {\n\t\tdrain 0s\n\t\trecovery " + options + "\n\t}",
		// A client that is lost between two polls is noticed only by a ping.
		Site: "realtime {\n\t\twebsocket /ws\n\t\thandler echo\n\t\tping 500ms 5s\n" + more + "\t}",
	}
}

// TestRecovery breaks connections of all transports in two ways, while events flow.
// Some reloads happen while clients are disconnected.
func TestRecovery(t *testing.T) {
	t.Parallel()
	const rounds = 12
	for _, transports := range everyTransport {
		for _, how := range []string{"cut", "close"} {
			t.Run(transports+"/"+how, func(t *testing.T) {
				t.Parallel()
				s := harness.Start(t, harness.WithGuests, recoveryConfig("5m", ""))
				proxy := harness.StartProxy(t, s.Address())
				n := s.StartNode(t, "recovery.mjs", "TRANSPORTS", transports, "HOW", how,
					"ROUNDS", strconv.Itoa(rounds), "PROXY_URL", proxy.URL())
				for round := range rounds {
					mark := s.Log.Mark()
					var client struct{ ID string }
					n.Expect(how, &client)
					if how == "cut" {
						proxy.Cut()
					}
					s.Log.Wait(t, mark, "socket disconnected", "socket", client.ID)
					if round%5 == 2 {
						s.MustReload(recoveryConfig("5m 20000", fmt.Sprintf("\t\tnamespaces / /round-%d\n", round)))
					}
					proxy.Restore()
					n.Tell("back")
				}
				var whole struct {
					PID   string
					Count int
				}
				n.Expect("whole", &whole)
				t.Logf("%d events have been heard", whole.Count)
				for _, l := range s.Log.Since(0) {
					if strings.Contains(l.Text, whole.PID) {
						t.Errorf("the log has the private id: %s", l.Text)
					}
				}

				s.MustReload(recoveryConfig("200ms", ""))
				mark := s.Log.Mark()
				n.Tell("leave")
				var client struct{ ID string }
				n.Expect("late", &client)
				s.Log.Wait(t, mark, "socket disconnected", "socket", client.ID)
				time.Sleep(time.Second) // the recovery time must pass
				n.Tell("back")
				n.Expect("anew", nil)
				n.Finish()
			})
		}
	}
}
