package plainws

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func nested(levels int) string { return strings.Repeat("[", levels) + strings.Repeat("]", levels) }

func list(element string, n int) string {
	return strings.TrimSuffix(strings.Repeat(element+",", n), ",")
}

// TestLimits: a frame that exceeds a limit ends the connection of its sender. The sender and the
// log learn which limit it was. A frame that just keeps the limits passes.
func TestLimits(t *testing.T) {
	name := strings.Repeat("n", limits.EventName)
	const binary = `{"$binary":"AQ=="}`
	for _, test := range []struct{ within, beyond, limit string }{
		{`{"event":"passes","args":[` + nested(limits.Depth) + `]}`, `{"event":"refused","args":[` + nested(limits.Depth+1) + `]}`, "depth"},
		{`{"event":"passes"}`, `{"event":"refused","args":[0,` + nested(7000) + `]}`, "depth"},
		{`{"event":"passes"}`, `{"event":"refused","args":[` + strings.Repeat("[", 7000) + binary + strings.Repeat("]", 7000) + `]}`, "depth"},
		{`{"event":"passes","args":[` + list("0", limits.Arguments) + `]}`, `{"event":"refused","args":[` + list("0", limits.Arguments+1) + `]}`, "arguments"},
		{`{"ack":1,"args":[` + list("0", limits.Arguments) + `]}`, `{"ack":1,"args":[` + list("0", limits.Arguments+1) + `]}`, "arguments"},
		{`{"ack":1,"args":[` + nested(limits.Depth) + `]}`, `{"ack":1,"args":[` + nested(limits.Depth+1) + `]}`, "depth"},
		{`{"event":"` + name + `"}`, `{"event":"` + name + `n"}`, "event_name"},
		{`{"event":"passes","args":[` + list(binary, 10) + `]}`, `{"event":"refused","args":[` + list(binary, 11) + `]}`, "attachments"},
		{`{"event":"passes","args":[[` + list(binary, 10) + `]]}`, `{"event":"refused","args":[[` + list(binary, 11) + `]]}`, "attachments"},
	} {
		t.Run(fmt.Sprintf("%s of %.60s", test.limit, test.beyond), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, JSON, handled(guest{event: func(_ context.Context, e *realtime.Event) (bool, error) {
					if e.Name == "refused" || len(e.Name) > limits.EventName {
						t.Errorf("event %.80s with %d arguments", e.Name, len(e.Args))
					}
					return true, nil
				}}), quiet)
				ws, _ := f.join(t)
				write(t, ws, test.within)
				synctest.Wait()
				if ends := f.reasons(); len(ends) > 0 {
					t.Errorf("what is within the limit ends the connection: %s", ends)
				}
				write(t, ws, test.beyond)
				if got := read(ws); !strings.Contains(got, `"code":"limit","message":"limit `+test.limit+` exceeded: at most `) {
					t.Errorf("the client is told %s", got)
				}
				if code := closeCode(ws); code != 1008 {
					t.Errorf("it ends with the code %d", code)
				}
				synctest.Wait()
				if ends := f.reasons(); len(ends) != 1 || ends[0] != reason.Limit {
					t.Errorf("it ends with %s", ends)
				}
				if logged := f.log.FilterMessage("limit exceeded").All(); len(logged) != 1 || logged[0].ContextMap()["limit"] != test.limit {
					t.Errorf("the log says %v", logged)
				}
			})
		})
	}
}

// TestConfiguredLimits: the limits of the settings hold, and not the defaults.
func TestConfiguredLimits(t *testing.T) {
	few := realtime.Limits{Attachments: 1, Arguments: 2, Depth: 3, EventName: 4}.WithDefaults()
	const binary = `{"$binary":"AQ=="}`
	for text, limit := range map[string]string{ // "": it passes
		`{"event":"name","args":[[[[]]],0]}`:                      "",
		`{"event":"names"}`:                                       "event_name",
		`{"event":"name","args":[0,0,0]}`:                         "arguments",
		`{"event":"name","args":[[[[{}]]]]}`:                      "depth",
		`{"event":"name","args":[` + binary + `]}`:                "",
		`{"event":"name","args":[` + binary + `,` + binary + `]}`: "attachments",
		`{"event":"name","args":null}`:                            "",
	} {
		_, err := parseJSON([]byte(text), &few)
		if exceeded, _ := errors.AsType[*realtime.LimitError](err); err != nil && (exceeded == nil || exceeded.Name != limit) || err == nil && limit != "" {
			t.Errorf("%s: %v, want %q", text, err, limit)
		}
	}
}

// TestArgumentsBeyond: an event with far too many arguments takes little memory.
func TestArgumentsBeyond(t *testing.T) {
	text := []byte(`{"event":"x","args":[` + list("0", 490_000) + `]}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := parseJSON(text, &limits)
	runtime.ReadMemStats(&after)
	if taken := after.TotalAlloc - before.TotalAlloc; err == nil || taken > 200_000 {
		t.Errorf("it takes %d bytes, %v", taken, err)
	}
}
