package caddy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
)

// patched returns the JSON of a Caddyfile with members added, each at its path.
func patched(t *testing.T, caddyfile string, members map[string]string) []byte {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal(config(t, caddyfile), &root); err != nil {
		t.Fatal(err)
	}
	for path, value := range members {
		var v any
		if err := json.Unmarshal([]byte(value), &v); err != nil {
			t.Fatal(err)
		}
		object := root
		names := strings.Split(path, "/")
		for _, name := range names[:len(names)-1] {
			next, ok := object[name].(map[string]any)
			if !ok {
				next = make(map[string]any)
				object[name] = next
			}
			object = next
		}
		object[names[len(names)-1]] = v
	}
	patched, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	return patched
}

// validateJSON provisions a configuration and cleans it up again. Its only site has a handler with
// the given JSON.
func validateJSON(t *testing.T, handler string, apps string) error {
	t.Helper()
	text := `{"admin":{"disabled":true},"logging":{"logs":{"default":{"level":"ERROR"}}},"apps":{` + apps +
		`"http":{"servers":{"s":{"listen":["127.0.0.1:0"],"routes":[{"handle":[` + handler + `]}]}}}}}`
	var c caddy.Config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	return caddy.Validate(&c)
}

// TestValidateJSON has mistakes that cannot be written in a Caddyfile.
func TestValidateJSON(t *testing.T) {
	const h = `{"handler":"realtime"`
	for _, test := range []struct {
		name, handler, apps string
		problem             string // "" for none
	}{
		{"nothing", h + `}`, ``, ""},
		{"an empty app", h + `}`, `"realtime":{},`, ""},
		{"empty parts", h + `,"socketio":{},"health":{},"websockets":[],"origins":[],"namespaces":[],"handlers":[],"authenticators":[],"ping":{},"limits":{}}`, `"realtime":{"hubs":{"default":{}}},`, ""},
		{"a format by default", h + `,"websockets":[{"path":"/ws"}]}`, ``, ""},
		{"a hub without a handler", h + `}`, `"realtime":{"hubs":{"other":{"broker":{"broker":"test","name":"never used"}}}},`, ""},
		{"off and a path", h + `,"socketio":{"off":true,"path":"relative"},"health":{"off":true,"path":"x"}}`, ``, ""},

		{"an unknown field", h + `,"colour":"red"}`, ``, "colour"},
		{"a format", h + `,"websockets":[{"path":"/ws","format":"xml"}]}`, ``, `websocket /ws: the format "xml" is unknown; it is json or raw`},
		{"no path", h + `,"websockets":[{}]}`, ``, `websocket: the path "" must begin with a slash`},
		{"a path twice", h + `,"websockets":[{"path":"/ws"},{"path":"/ws","format":"raw"}]}`, ``, `the path "/ws" is that of websocket already`},
		{"a path twice, once with a slash", h + `,"websockets":[{"path":"/ws"},{"path":"/ws/","format":"raw"}]}`, ``, `the path "/ws/" is that of websocket already`},
		{"a path that is socketio's without its slash", h + `,"websockets":[{"path":"/socket.io"}]}`, ``, `websocket: the path "/socket.io" is that of socketio already`},
		{"both transports", h + `,"socketio":{"transports":["websocket","polling"]}}`, ``, ""},
		{"no transports", h + `,"socketio":{"transports":[]}}`, ``, ""},
		{"an unknown transport", h + `,"socketio":{"transports":["webtransport"]}}`, ``, `socketio: the transport "webtransport" is unknown; it is polling or websocket`},
		{"a transport twice", h + `,"socketio":{"transports":["polling","polling"]}}`, ``, `socketio: the transport polling is there already`},
		{"a path under socketio's", h + `,"health":{"path":"/socket.io/health"}}`, ``, `is under that of socketio`},
		{"a namespace", h + `,"namespaces":["chat"]}`, ``, `namespaces: "chat" must begin with a slash`},
		{"an origin", h + `,"origins":["example.com"]}`, ``, `origins "example.com": the scheme is missing; write https://example.com`},
		{"any origin and another", h + `,"origins":["*","https://example.com"]}`, ``, `origins "*"`},
		{"a backend without a secret", h + `,"handlers":[{"handler":"backend","url":"http://localhost:1/realtime"}]}`, ``, "backend: there is no secret"},
		{"a backend with a secret, unsigned", h + `,"handlers":[{"handler":"backend","url":"http://localhost:1/realtime","unsigned":true,"secrets":["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="]}]}`, ``, "backend: unsigned and secret exclude each other"},
		{"a backend's query", h + `,"handlers":[{"handler":"backend","url":"http://localhost:1/realtime?a=b","unsigned":true}]}`, ``, "has a query; leave it out"},
		{"a backend's empty query", h + `,"handlers":[{"handler":"backend","url":"http://localhost:1/realtime?","unsigned":true}]}`, ``, "has a query; leave it out"},
		{"batches of one", h + `,"handlers":[{"handler":"backend","url":"http://localhost:1/realtime","unsigned":true,"batch":1}]}`, ``, "batch is a number from 2 to 1000, not 1; leave it out"},
		{"endless batches", h + `,"handlers":[{"handler":"backend","url":"http://localhost:1/realtime","unsigned":true,"batch":-1}]}`, ``, "batch is a number from 2 to 1000, not -1"},
		{"a backend's root", h + `,"handlers":[{"handler":"backend","path":"/","unsigned":true,"handle":[{"handler":"static_response"}]}]}`, ``, "backend: the path must be one that clients have no need of"},
		{"a backend's pattern", h + `,"handlers":[{"handler":"backend","path":"/realtime/*","unsigned":true,"handle":[{"handler":"static_response"}]}]}`, ``, "is no pattern"},
		{"any origin and a forwarded cookie", h + `,"origins":["*"],"handlers":[{"handler":"backend","url":"http://localhost:1/realtime","unsigned":true}]}`, ``, "backend: with origins * any page could connect in the name of its visitor, by the Cookie that is forwarded"},
		{"any origin and a token in a header", h + `,"origins":["strict","*"],"handlers":[{"handler":"backend","url":"http://localhost:1/realtime","unsigned":true,"forward":["Authorization"]}]}`, ``, ""},
		{"any origin and a token in a cookie", h + `,"origins":["*"],"authenticators":[{"authenticator":"jwt","secrets":["0123456789abcdef0123456789abcdef"],"tokens":["auth.token","cookie:session"]}]}`, ``, "authenticator jwt: with origins * any page could connect in the name of its visitor, by the cookie that it reads"},
		{"any origin and the header of cookies", h + `,"origins":["*"],"authenticators":[{"authenticator":"jwt","secrets":["0123456789abcdef0123456789abcdef"],"tokens":["header:cookie"]}]}`, ``, "authenticator jwt: with origins *"},
		{"any origin and a token", h + `,"origins":["*"],"authenticators":[{"authenticator":"jwt","secrets":["0123456789abcdef0123456789abcdef"]}]}`, ``, ""},
		{"any origin and basic_auth", h + `,"origins":["*"],"authenticators":[{"authenticator":"placeholder"}]}`, ``, "authenticator placeholder: with origins * any page could connect in the name of its visitor, by the cookie or the password that is behind {http.auth.user.id}"},
		{"any origin and what forward_auth copies", h + `,"origins":["*"],"authenticators":[{"authenticator":"placeholder","user":"{http.request.uri.query.user}","rooms":["org:{http.request.header.X-Org}"]}]}`, ``, "behind {http.request.header.X-Org}"},
		{"any origin and a cookie's placeholder", h + `,"origins":["*"],"authenticators":[{"authenticator":"placeholder","user":"{http.request.cookie.user}"}]}`, ``, "behind {http.request.cookie.user}"},
		{"any origin and the query", h + `,"origins":["*"],"authenticators":[{"authenticator":"placeholder","user":"{http.request.uri.query.user}"}]}`, ``, ""},
		{"listed origins and basic_auth", h + `,"origins":["https://app.example.com"],"authenticators":[{"authenticator":"placeholder"}]}`, ``, ""},
		{"an app's origin", h + `,"origins":["app://.","qrc://","chrome-extension://abcdefghijklmnopabcdefghijklmnop"]}`, ``, ""},
		{"a WebSocket's origin", h + `,"origins":["wss://app.example.com"]}`, ``, "write https://app.example.com"},
		{"a negative interval", h + `,"ping":{"interval":"-1s"}}`, ``, "ping: durations must be positive"},
		{"a negative timeout", h + `,"ping":{"timeout":-1}}`, ``, "ping: durations must be positive"},
		{"compression", h + `,"compression":{"on":true}}`, ``, ""},
		{"compression of all", h + `,"compression":{"on":true,"min_size":1}}`, ``, ""},
		{"no compression", h + `,"compression":{}}`, ``, ""},
		{"a negative size", h + `,"compression":{"on":true,"min_size":-1}}`, ``, "compression: min_size must be between 1 and 1073741824 bytes"},
		{"a huge size", h + `,"compression":{"on":true,"min_size":1073741825}}`, ``, "compression: min_size must be between 1 and 1073741824 bytes"},
		{"a size for nothing", h + `,"compression":{"min_size":1024}}`, ``, "compression: min_size means nothing where it is not on"},
		{"a negative payload", h + `,"limits":{"payload":-1}}`, ``, "limits: values must be positive"},
		{"a negative queue", h + `,"limits":{"queue":-1}}`, ``, "limits: values must be positive"},
		{"a negative handshake", h + `,"limits":{"handshake":-1}}`, ``, "limits: values must be positive"},
		{"a limit", h + `,"limits":{"depth":1000,"attachments":10,"arguments":10000,"event_name":1}}`, ``, ""},
		{"a negative count", h + `,"limits":{"acks":-1}}`, ``, "limits: acks must be between 1 and 1000000"},
		{"a count too large", h + `,"limits":{"attachments":11}}`, ``, "limits: attachments must be between 1 and 10"},
		{"a negative event_name", h + `,"limits":{"event_name":-1}}`, ``, "limits: values must be positive"},
		{"headers too large", h + `,"limits":{"headers":1073741825}}`, ``, "limits: headers must be between 1 and 1073741824 bytes"},
		{"the client of a path that is off", h + `,"serve_client":"testdata","socketio":{"off":true}}`, ``, "serve_client: the client is served under the path of socketio, which is off"},
		{"a missing folder", h + `,"serve_client":"testdata/missing"}`, ``, "it takes the folder dist of socket.io-client"},
		{"a folder without the client", h + `,"serve_client":"testdata"}`, ``, "serve_client: the folder testdata has no file of the client"},
		{"an unknown handler", h + `,"handlers":[{"handler":"nobody"}]}`, ``, "loading handlers"},
		{"a handler that is none", h + `,"handlers":[{"handler":"test_misfit"}]}`, ``, "the module *caddy.testMisfit in realtime.handlers is no realtime.Handler"},
		{"a broken handler", h + `,"handlers":[{"handler":"test","tag":"broken"}]}`, ``, "the handler is broken"},
		{"a relay of nothing", h + `,"handlers":[{"handler":"relay"}]}`, ``, "relay does nothing without events or rooms"},
		{"an unknown authenticator", h + `,"authenticators":[{"authenticator":"nobody"}]}`, ``, "loading authenticators"},
		{"an unknown broker", h + `}`, `"realtime":{"hubs":{"default":{"broker":{"broker":"nobody"}}}},`, `hub "default": loading broker`},
		{"no options", h + `}`, `"realtime":{"hubs":{"default":null}},`, `hub "default": options are missing`},
		{"an unreachable broker", h + `}`, `"realtime":{"hubs":{"default":{"broker":{"broker":"test","name":"unreachable"}}}},`, "the broker is unreachable"},
		{"a recovery without a window", h + `}`, `"realtime":{"hubs":{"default":{"recovery":{}}}},`, `hub "default": recovery: window must be a positive duration`},
		{"a negative number of events", h + `}`, `"realtime":{"hubs":{"default":{"recovery":{"window":"2m","max_events_per_namespace":-1}}}},`, `recovery: max_events_per_namespace is -1`},
		{"a recovery", h + `}`, `"realtime":{"hubs":{"default":{"recovery":{"window":"2m"}}}},`, ""},
		{"two that differ", h + `},` + h + `,"namespaces":["/x"]}`, ``, `two realtime blocks are named "default" but differ`},
		{"two that differ in the hub", h + `},` + h + `,"hub":"other"}`, ``, `two realtime blocks are named "default" but differ`},
		{"two that differ in authenticators", h + `,"authenticators":[{"authenticator":"jwt","secrets":["0123456789abcdef0123456789abcdef"]}]},` + h + `}`, ``, `two realtime blocks are named "default" but differ`},
		{"two that differ in a handler's options", h + `,"handlers":[{"handler":"relay","events":["a"]}]},` + h + `,"handlers":[{"handler":"relay","events":["b"]}]}`, ``, `two realtime blocks are named "default" but differ`},
		{"two that have the same guests", h + `,"handlers":[{"handler":"relay","events":["a"]}]},` + h + `,"handlers":[{"handler":"relay","events":["a"]}]}`, ``, ""},
		{"two that are the same, one by its defaults", h + `},` + h + `,"name":"default","hub":"default"}`, ``, ""},
		{"two names", h + `},` + h + `,"name":"other","hub":"other"}`, ``, ""},
		{"the first fine, the second not", h + `},` + h + `,"name":"other","hub":"other","origins":["x"]}`, ``, `origins "x"`},
	} {
		err := validateJSON(t, test.handler, test.apps)
		if test.problem == "" && err != nil || test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem)) {
			t.Errorf("%s: %v, want %q", test.name, err, test.problem)
		}
		for _, name := range []string{"default", "other"} {
			if n := references(name); n != 0 {
				t.Errorf("%s: the hub %q has %d references left", test.name, name, n)
			}
		}
	}
}

// TestFailedProvision loads configurations that fail, at each place where they can. The running
// configuration keeps its hub.
func TestFailedProvision(t *testing.T) {
	port := testcaddy.FreePort(t)
	site := func(inside string) string {
		return fmt.Sprintf("http://127.0.0.1:%d {\n%s\n}\n", port, inside)
	}
	load(t, site("realtime {\n\thandler test running\n}"))
	conn := connect(t, port, "/socket.io/")
	receive(t, conn)
	exchange(t, conn, "40")
	before := references("default")
	if before != 1 {
		t.Fatalf("%d references", before)
	}
	for name, broken := range map[string][]byte{
		"an origin":                config(t, site("realtime {\n\torigins {env.REALTIME_TEST_UNSET}\n}")),
		"a guest":                  config(t, site("realtime {\n\thandler test broken\n}")),
		"a second block":           config(t, site("realtime\nrealtime {\n\tname other\n\torigins {env.REALTIME_TEST_UNSET}\n}")),
		"blocks that differ":       bytes.ReplaceAll(config(t, site("realtime\nrealtime {\n\tname other\n\tnamespaces /x\n}")), []byte(`"other"`), []byte(`"default"`)),
		"another hub":              config(t, site("realtime\nrealtime {\n\tname other\n\thub other\n\thandler test broken\n}")),
		"another app, provisioned": patched(t, site("realtime {\n\thandler test newer\n}"), map[string]string{"apps/realtime_test": `{"fail":"provision"}`}),
		"another app, started":     patched(t, site("realtime {\n\thandler test newer\n}"), map[string]string{"apps/realtime_test": `{"fail":"start"}`}),
		"a broker":                 patched(t, site("realtime {\n\thub other\n}"), map[string]string{"apps/realtime/hubs/other": `{"broker":{"broker":"test","name":"unreachable"}}`}),
	} {
		for range 3 {
			if err := caddy.Load(broken, true); err == nil {
				t.Fatalf("%s: loaded", name)
			}
			if n := references("default"); n != before {
				t.Errorf("%s: the hub has %d references, %d before", name, n, before)
			}
			if n := references("other"); n != 0 {
				t.Errorf("%s: another hub has %d references", name, n)
			}
			if got := exchange(t, conn, `421["who"]`); got != `431["running"]` {
				t.Errorf("%s: who was answered by %s", name, got)
			}
		}
	}
}

// TestBrokerLives loads hubs whose broker cannot be reached. A correct configuration can be loaded
// afterwards.
func TestBrokerLives(t *testing.T) {
	lives.begin()
	port := testcaddy.FreePort(t)
	site := fmt.Sprintf("http://127.0.0.1:%d {\n\trealtime {\n\t\thub brokered\n\t}\n}\n", port)
	with := func(name string) []byte {
		return patched(t, site, map[string]string{"apps/realtime/hubs/brokered": `{"broker":{"broker":"test","name":"` + name + `"}}`})
	}
	if err := caddy.Load(with("unreachable"), true); err == nil {
		t.Fatal("loaded without its broker")
	}
	if err := caddy.Load(with("first"), true); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		if n := lives.count("broker first closed"); n != 1 {
			t.Errorf("the hub's broker was closed %d times", n)
		}
	}()
	// The hub and its broker live on, unless another broker is configured.
	for _, name := range []string{"first", "unreachable", "first"} {
		if err := caddy.Load(with(name), true); (err != nil) != (name == "unreachable") {
			t.Errorf("%s: %v", name, err)
		}
		if n := hubs("brokered"); n != 1 {
			t.Errorf("%s: there are %d hubs", name, n)
		}
	}
	if n := lives.count("broker first closed"); n != 0 {
		t.Error("a reload closed the hub's broker")
	}
}

// TestCleanupOfNothing cleans up an app that has refused to be provisioned, as it does while the
// process exits. Caddy does so, too.
func TestCleanupOfNothing(t *testing.T) {
	if err := new(App).Cleanup(); err != nil {
		t.Error(err)
	}
}

// TestModules checks the names that others rely on.
func TestModules(t *testing.T) {
	for _, id := range []string{"realtime", "http.handlers.realtime", "realtime.handlers.relay", "realtime.brokers.memory"} {
		if _, err := caddy.GetModule(id); err != nil {
			t.Error(err)
		}
	}
}

// TestMemoryBroker checks that a hub with the broker memory is by itself, as one without options.
func TestMemoryBroker(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	a := &App{ctx: ctx}
	for _, raw := range []string{"", `{"broker":"memory"}`} {
		options := new(HubOptions)
		if raw != "" {
			options.BrokerRaw = json.RawMessage(raw)
		}
		if b, err := a.loadBroker(options); b != (hubBroker{}) || b.name() != "memory" || err != nil {
			t.Errorf("%q: %+v, %v", raw, b, err)
		}
	}
	if names := guestNames("realtime.brokers"); !slices.Contains(strings.Split(names, ", "), "memory") {
		t.Error(names)
	}
	if guestNames("realtime.nothing") != "none" {
		t.Error("there are guests of nothing")
	}
}
