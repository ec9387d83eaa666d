package test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
)

// entryPaths are the ways in which a page can reach an endpoint: polling and both kinds
// of WebSocket.
var entryPaths = map[string]string{
	"polling":         harness.PollingPath,
	"websocket":       harness.WebSocketPath,
	"plain websocket": "/ws",
}

// firstRequest sends the first request of such a way.
func firstRequest(t *testing.T, s *harness.Server, path string, header ...string) harness.Answer {
	t.Helper()
	if path == harness.PollingPath {
		return s.Request(t, "GET", path, "", header...)
	}
	w, a := s.Dial(t, path, header...)
	if w != nil {
		w.Close()
	}
	return a
}

// corsHeaders returns the header fields of an answer that concern origins.
func corsHeaders(a harness.Answer) []string {
	var names []string
	for name := range a.Header {
		if strings.HasPrefix(name, "Access-Control-") || name == "Vary" {
			names = append(names, name+": "+strings.Join(a.Header[name], " | "))
		}
	}
	slices.Sort(names)
	return names
}

const allowed = "https://app.example.com"

func TestOrigins(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Shipped, harness.Config{Site: `realtime {
		websocket /ws
		origins https://app.example.com https://*.wild.example http://localhost:*
	}`})

	forbidden := map[string]string{
		"another site":           "https://evil.test",
		"the name as a prefix":   "https://app.example.com.evil.test",
		"the name as a suffix":   "https://evilapp.example.com",
		"the parent":             "https://example.com",
		"a child":                "https://x.app.example.com",
		"http for https":         "http://app.example.com",
		"another port":           "https://app.example.com:8443",
		"the port of http":       "https://app.example.com:80",
		"null":                   "null",
		"a path":                 "https://app.example.com/",
		"a user name":            "https://app.example.com@evil.test",
		"a user name in front":   "https://evil.test@app.example.com",
		"a list":                 "https://app.example.com, https://evil.test",
		"a list by spaces":       "https://app.example.com https://evil.test",
		"a trailing dot":         "https://app.example.com.",
		"the scheme of a socket": "ws://app.example.com",
		"no scheme":              "app.example.com",
		"a file":                 "file://",
		"the empty string":       "",
		"the apex of a wildcard": "https://wild.example",
		"a wildcard's suffix":    "https://evilwild.example",
		"a wildcard, literally":  "https://*.wild.example.evil.test",
		"localhost as a prefix":  "http://localhost.evil.test:3000",
		"a full-width dot":       "https://app．example．com",
		"a percent-encoded dot":  "https://app%2eexample.com",
	}
	for entrance, path := range entryPaths {
		for name, origin := range forbidden {
			t.Run("forbidden/"+entrance+"/"+name, func(t *testing.T) {
				mark := s.LogEnd(t)
				a := firstRequest(t, s, path, "Origin", origin)
				if a.Status != http.StatusForbidden || a.Body != `{"code":4,"message":"Forbidden"}` {
					t.Errorf("the answer is %d %s", a.Status, a.Body)
				}
				if a.Header.Get("Content-Type") != "application/json" {
					t.Errorf("the answer is %s", a.Header.Get("Content-Type"))
				}
				if headers := corsHeaders(a); len(headers) > 0 {
					t.Errorf("the answer has %q", headers)
				}
				wantOneRefusal(t, s, mark, origin)
			})
		}
		t.Run("forbidden/"+entrance+"/two of them", func(t *testing.T) {
			mark := s.LogEnd(t)
			a := firstRequest(t, s, path, "Origin", allowed, "Origin", allowed)
			if a.Status != http.StatusForbidden || len(corsHeaders(a)) > 0 {
				t.Errorf("the answer is %d with %q", a.Status, corsHeaders(a))
			}
			wantOneRefusal(t, s, mark, allowed)
		})
	}

	for entrance, path := range entryPaths {
		for _, origin := range []string{
			allowed, "HTTPS://App.EXAMPLE.com", "https://app.example.com:443", "https://a.b.wild.example",
			"http://localhost:5173", "http://localhost", "wss://app.example.com", "ws://localhost:5173",
		} {
			t.Run("allowed/"+entrance+"/"+origin, func(t *testing.T) {
				mark := s.LogEnd(t)
				a := firstRequest(t, s, path, "Origin", origin)
				want := http.StatusSwitchingProtocols
				if path == harness.PollingPath {
					want = http.StatusOK
					headers := []string{"Access-Control-Allow-Credentials: true", "Access-Control-Allow-Origin: " + origin, "Vary: Origin"}
					if got := corsHeaders(a); !slices.Equal(got, headers) {
						t.Errorf("the answer has %q, want %q", got, headers)
					}
				}
				if a.Status != want {
					t.Errorf("the answer is %d %s", a.Status, a.Body)
				}
				s.Log.Wait(t, mark, "connected", "origin", origin)
			})
		}
		t.Run("allowed/"+entrance+"/a native client", func(t *testing.T) {
			a := firstRequest(t, s, path)
			if a.Status != http.StatusOK && a.Status != http.StatusSwitchingProtocols {
				t.Errorf("the answer is %d %s", a.Status, a.Body)
			}
			if strings.Contains(strings.Join(corsHeaders(a), " "), "Access-Control") {
				t.Errorf("the answer has %q", corsHeaders(a))
			}
		})
		t.Run("allowed/"+entrance+"/the same origin", func(t *testing.T) {
			if a := firstRequest(t, s, path, "Origin", s.URL()); a.Status >= 300 {
				t.Errorf("the answer is %d %s", a.Status, a.Body)
			}
		})
	}
}

// wantOneRefusal expects one log line since a mark, which has the reason.
func wantOneRefusal(t *testing.T, s *harness.Server, mark int, origin string) {
	t.Helper()
	lines := harness.WithMessage(s.LogSince(t, mark), "refused")
	if len(lines) != 1 || !lines[0].Is("refused", "message", "Forbidden") {
		t.Fatalf("the log has not one refusal:\n%s", s.Log.Text(mark))
	}
	l := lines[0]
	if !strings.Contains(l.Field("reason"), "is forbidden: ") || l.Field("client_ip") != "127.0.0.1" || l.Field("path") == "" {
		t.Errorf("the line does not say enough: %s", l.Text)
	}
	if origins, ok := l.Fields["origin"].([]any); !ok || len(origins) == 0 || origins[0] != origin {
		t.Errorf("the line has not the origin: %s", l.Text)
	}
}

// TestOriginOfLaterRequests checks that the policy holds for every request, not only
// for the first: another site cannot use a session's id.
func TestOriginOfLaterRequests(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.WithGuests, harness.Config{Site: "realtime {\n origins https://app.example.com \n handler echo \n}"})
	c := s.OpenSession(t, "Origin", allowed)
	c.Connect()
	thief := c.WithHeader("Origin", "https://evil.test")
	for what, a := range map[string]harness.Answer{
		"GET":  thief.Get(),
		"POST": thief.Post(`42["message"]`),
	} {
		if a.Status != http.StatusForbidden || len(corsHeaders(a)) > 0 {
			t.Errorf("%s: the answer is %d %s with %q", what, a.Status, a.Body, corsHeaders(a))
		}
	}
	if _, a := s.Dial(t, harness.WebSocketPath+"&sid="+c.ID, "Origin", "https://evil.test"); a.Status != http.StatusForbidden {
		t.Errorf("upgrade: the answer is %d %s", a.Status, a.Body)
	}
	c.CheckAlive()
	a := c.Post(`42["message"]`)
	want := []string{"Access-Control-Allow-Credentials: true", "Access-Control-Allow-Origin: " + allowed, "Vary: Origin"}
	if got := corsHeaders(a); !slices.Equal(got, want) {
		t.Errorf("the answer to a POST has %q, want %q", got, want)
	}
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Shipped, harness.Config{Site: "realtime {\n origins https://app.example.com \n}"})
	preflight := []string{"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type,x-tenant"}

	a := s.Request(t, "OPTIONS", harness.PollingPath, "", append(preflight, "Origin", allowed)...)
	if a.Status != http.StatusNoContent || a.Body != "" {
		t.Errorf("the answer is %d %q", a.Status, a.Body)
	}
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin":      allowed,
		"Access-Control-Allow-Credentials": "true",
		"Access-Control-Allow-Headers":     "content-type,x-tenant",
	} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if methods := a.Header.Get("Access-Control-Allow-Methods"); !strings.Contains(methods, "POST") || !strings.Contains(methods, "GET") {
		t.Errorf("the methods are %q", methods)
	}
	if vary := strings.Join(a.Header.Values("Vary"), ", "); !strings.Contains(vary, "Origin") || !strings.Contains(vary, "Access-Control-Request-Headers") {
		t.Errorf("Vary is %q", vary)
	}

	mark := s.LogEnd(t)
	a = s.Request(t, "OPTIONS", harness.PollingPath, "", append(preflight, "Origin", "https://evil.test")...)
	if a.Status != http.StatusForbidden || len(corsHeaders(a)) > 0 {
		t.Errorf("to another site the answer is %d with %q", a.Status, corsHeaders(a))
	}
	wantOneRefusal(t, s, mark, "https://evil.test")
}

// TestOriginByDefault checks that without the option only pages of the same origin may
// connect.
func TestOriginByDefault(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Shipped, harness.Config{Site: "realtime {\n websocket /ws \n}"})
	for entrance, path := range entryPaths {
		if a := firstRequest(t, s, path, "Origin", allowed); a.Status != http.StatusForbidden || len(corsHeaders(a)) > 0 {
			t.Errorf("%s: another site is answered %d with %q", entrance, a.Status, corsHeaders(a))
		}
		if a := firstRequest(t, s, path, "Origin", s.URL()); a.Status >= 300 {
			t.Errorf("%s: the same origin is answered %d", entrance, a.Status)
		}
		if a := firstRequest(t, s, path, "Origin", strings.Replace(s.URL(), "127.0.0.1", "localhost", 1)); a.Status != http.StatusForbidden {
			t.Errorf("%s: another name of the same address is answered %d", entrance, a.Status)
		}
	}
}

func TestOriginStrictAndAny(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Shipped, harness.Config{Site: `
		realtime /strict/* {
			name strict
			socketio /strict/io/
			health off
			origins strict https://app.example.com
		}
		realtime {
			name any
			origins *
		}`})
	const strict = "/strict/io/?EIO=4&transport=polling"
	if a := s.Request(t, "GET", strict, ""); a.Status != http.StatusForbidden {
		t.Errorf("strict: a native client is answered %d", a.Status)
	}
	if a := s.Request(t, "GET", strict, "", "Origin", allowed); a.Status != http.StatusOK {
		t.Errorf("strict: an allowed origin is answered %d", a.Status)
	}
	a := s.Request(t, "GET", harness.PollingPath, "", "Origin", "https://anyone.test")
	if want := []string{"Access-Control-Allow-Origin: *", "Vary: Origin"}; a.Status != http.StatusOK || !slices.Equal(corsHeaders(a), want) {
		t.Errorf("any: the answer is %d with %q, want %q", a.Status, corsHeaders(a), want)
	}
	for _, origin := range []string{"file://", "wss://other.test", "anything, at all", ""} {
		if a := s.Request(t, "GET", harness.PollingPath, "", "Origin", origin); a.Status != http.StatusOK || !slices.Equal(corsHeaders(a), []string{"Access-Control-Allow-Origin: *", "Vary: Origin"}) {
			t.Errorf("any: %q is answered %d with %q", origin, a.Status, corsHeaders(a))
		}
	}
	if a := s.Request(t, "GET", harness.PollingPath, "", "Origin", "https://a.test", "Origin", "https://b.test"); a.Status != http.StatusForbidden {
		t.Errorf("any: two origins are answered %d", a.Status)
	}
}

// TestOriginInLog checks that the log line of a refusal says what to configure.
func TestOriginInLog(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Shipped, harness.Config{Site: "realtime {\n websocket /ws \n origins https://app.example.com \n}"})
	for entrance, path := range entryPaths {
		mark := s.LogEnd(t)
		firstRequest(t, s, path, "Origin", "capacitor://localhost")
		l := s.Log.Wait(t, mark, "refused", "message", "Forbidden")
		for _, part := range []string{`"capacitor://localhost"`, "this site is http(s)://127.0.0.1:", "listed are https://app.example.com", "write origins https://app.example.com capacitor://localhost"} {
			if !strings.Contains(l.Field("reason"), part) {
				t.Errorf("%s: the reason lacks %s: %s", entrance, part, l.Field("reason"))
			}
		}
		mark = s.LogEnd(t)
		firstRequest(t, s, path, "Origin", "https://"+strings.Repeat("a", 10_000))
		if l := s.Log.Wait(t, mark, "refused", "message", "Forbidden"); len(l.Text) > 3000 {
			t.Errorf("%s: a line has %d bytes", entrance, len(l.Text))
		}
	}
}
