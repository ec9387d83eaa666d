package test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
)

// A configuration is a Caddyfile for scenarios of differential/, by the name that they
// use. Its counterpart for Socket.IO's own server is in differential/reference.mjs.
type configuration struct {
	name   string
	hub    string // more of the hub's options
	site   string // more of the endpoint's
	like   string // the configuration whose endpoint serves this one, too
	missed string // why there is no such endpoint yet; the scenarios then run against the other side only
}

var configurations = []configuration{
	{name: "plain"},
	{name: "origins", site: "origins https://app.example.com https://*.example.org"},
	{name: "any", site: "origins *"},
	{name: "path", site: "socketio /chat/live/"},
	{name: "small", site: "limits {\n payload 1000B \n}"},
	{name: "hasty", site: "limits {\n handshake 300ms \n}"},
	{name: "beating", site: "ping 200ms 10s"},
	{name: "dying", site: "ping 300ms 200ms"},
	{name: "recovery", hub: "recovery 2m"},
	{name: "forgetful", hub: "recovery 200ms"},
	{name: "compression", site: "compression on"},
	{name: "msgpack", like: "plain"}, // one endpoint serves clients of both parsers
	{name: "eio3", site: "socketio {\n eio3 \n}"},
	{name: "bundle", site: "serve_client node_modules/socket.io/client-dist"},
}

// A comparison has the traces of one scenario from both servers.
type comparison struct {
	Name, Area, On string
	Milliseconds   int
	Traces         struct{ Reference, Server []string }
	times          int // how often it has run
}

var update = flag.Bool("update", false, "write the lines of differential/DIFFERENCES.md anew")

// TestDifferential runs the scenarios of differential/ against Socket.IO's own server
// and against this one. differential/DIFFERENCES.md must list every difference as it
// is, and no other.
func TestDifferential(t *testing.T) {
	t.Parallel()
	known := readDifferences(t)
	sides := map[string]map[string]string{
		"reference": startReference(t),
		"server":    startConfigurations(t),
	}
	compared := runScenarios(t, sides, nil)

	// A scenario that differs and should not runs again, alone and with longer pauses. On
	// a busy machine a request may overtake another that the scenario sent before.
	for i := 0; i < 2 && !*update; i++ {
		var again []string
		for name, c := range compared {
			if c.verdict(known) != "" {
				again = append(again, name)
			}
		}
		if len(again) == 0 {
			break
		}
		for name, c := range runScenarios(t, sides, again, "AT_ONCE", "1", "SLOWLY", "10") {
			c.times = compared[name].times + 1
			compared[name] = c
		}
	}

	if *update {
		updateDifferences(t, compared)
		known = readDifferences(t)
	}
	for _, c := range compared {
		if verdict := c.verdict(known); verdict != "" {
			t.Errorf("%s: %s\n%s", c.Name, verdict, strings.Join(diff(c.Traces.Reference, c.Traces.Server), "\n"))
		}
	}
	for name, d := range known.scenarios {
		if compared[name] == nil {
			t.Errorf("DIFFERENCES.md, %s: there is no scenario %q", d.section, name)
		}
	}
	if len(compared) < 400 {
		t.Errorf("only %d scenarios ran", len(compared))
	}
	writeTable(t, compared, known)
}

// TestDifferentialNotices checks that an altered application makes a difference, and
// that two equal ones make none, whatever is random in them.
func TestDifferentialNotices(t *testing.T) {
	t.Parallel()
	const altered, other = "there and back: numbers, websocket", "there and back: null, websocket"
	sides := map[string]map[string]string{
		"reference": startReference(t),
		"server":    startReference(t, "ALTERED", "yes"),
	}
	compared := runScenarios(t, sides, []string{altered, other})
	if compared[altered].outcome() != "different" || compared[other].outcome() != "same" {
		t.Errorf("%+v", compared)
	}
}

// verdict returns the error of the comparison; "" if there is none.
func (c *comparison) verdict(known *differences) string {
	if failed(c.Traces.Reference) {
		return "it fails with Socket.IO's own server: the scenario is wrong\n" + strings.Join(c.Traces.Reference, "\n")
	}
	if c.Traces.Server == nil {
		return "" // it is known why
	}
	found := diff(c.Traces.Reference, c.Traces.Server)
	deliberate, listed := known.scenarios[c.Name]
	switch {
	case listed && len(found) == 0:
		return "DIFFERENCES.md lists a difference that is none any more"
	case listed && !slices.Equal(found, deliberate.lines):
		return "the difference is another one than DIFFERENCES.md has"
	case !listed && len(found) > 0:
		return "the servers differ, and DIFFERENCES.md does not say why"
	}
	return ""
}

// failed reports whether a trace ends with an error of its scenario.
func failed(trace []string) bool {
	return len(trace) == 0 || strings.HasPrefix(trace[len(trace)-1], "! ")
}

// outcome is the comparison's word in the table.
func (c *comparison) outcome() string {
	switch {
	case c.Traces.Server == nil:
		return "not yet"
	case len(diff(c.Traces.Reference, c.Traces.Server)) == 0:
		return "same"
	default:
		return "different"
	}
}

// startReference starts Socket.IO's own server and returns the addresses of its
// configurations.
func startReference(t *testing.T, env ...string) map[string]string {
	t.Helper()
	harness.NeedNode(t)
	var names []string
	for _, c := range configurations {
		names = append(names, c.name)
	}
	var urls map[string]string
	harness.StartProgram(t, "node", "differential/reference.mjs", append(env, "CONFIGURATIONS", strings.Join(names, " "))...).Expect("listening", &urls)
	return urls
}

// startConfigurations starts one server with an endpoint for each configuration and
// returns their addresses.
func startConfigurations(t *testing.T) map[string]string {
	t.Helper()
	s := harness.NewServer(t, harness.WithGuests)
	urls := make(map[string]string)
	var hubs, sites strings.Builder
	for _, c := range configurations {
		if c.missed != "" || c.like != "" {
			continue
		}
		port := harness.FreePort(t)
		urls[c.name] = fmt.Sprintf("http://127.0.0.1:%d", port)
		fmt.Fprintf(&hubs, "realtime %s {\n drain 0s\n %s\n}\n", c.name, c.hub)
		fmt.Fprintf(&sites, `http://:%d {
	bind 127.0.0.1
	realtime {
		name %s
		hub %[2]s
		namespaces / /custom /tenant-*
		authenticator token
		handler echo
		%s
	}
	respond 404
}
`, port, c.name, c.site)
	}
	for _, c := range configurations {
		if c.missed == "" && c.like != "" {
			urls[c.name] = urls[c.like]
		}
	}
	s.WriteFile("Caddyfile", s.GlobalOptions(hubs.String())+sites.String())
	s.Run()
	return urls
}

// runScenarios runs the scenarios of these names, or all of them.
func runScenarios(t *testing.T, sides map[string]map[string]string, only []string, env ...string) map[string]*comparison {
	t.Helper()
	addresses, err := json.Marshal(sides)
	if err != nil {
		t.Fatal(err)
	}
	env = append(env, "SIDES", string(addresses))
	if only != nil {
		names, err := json.Marshal(only)
		if err != nil {
			t.Fatal(err)
		}
		env = append(env, "ONLY", string(names))
	}
	n := harness.StartProgram(t, "node", "differential/run.mjs", env...)
	compared := make(map[string]*comparison)
	for {
		w := n.Next("scenario")
		if w.Tell == "done" {
			break
		}
		c := &comparison{times: 1}
		harness.Reports{w.Tell: w.Data}.Decode(t, w.Tell, c)
		compared[c.Name] = c
	}
	n.Finish()
	return compared
}

// writeTable writes the table of all scenarios to a file.
func writeTable(t *testing.T, compared map[string]*comparison, known *differences) {
	t.Helper()
	all := make([]*comparison, 0, len(compared))
	for _, c := range compared {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *comparison) int { return strings.Compare(a.Area+"\x00"+a.Name, b.Area+"\x00"+b.Name) })
	counts := make(map[string]int)
	var table strings.Builder
	for _, c := range all {
		outcome := c.outcome()
		counts[outcome]++
		if d, listed := known.scenarios[c.Name]; listed {
			outcome += ": " + d.section
		}
		if c.times > 1 {
			outcome += fmt.Sprintf(" (in run %d)", c.times)
		}
		fmt.Fprintf(&table, "%s · %s · %s\n", c.Area, c.Name, outcome)
	}
	fmt.Fprintf(&table, "\n%d scenarios: %d same, %d different on purpose, %d not yet\n", len(all), counts["same"], counts["different"], counts["not yet"])
	if err := os.MkdirAll("artifacts", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("artifacts/differential.txt", []byte(table.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + table.String())
}
