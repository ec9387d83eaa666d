package test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// entrances are the ways in which a page can reach an endpoint: long-polling
// and both kinds of WebSocket.
var entrances = map[string]string{
	"polling":         polling,
	"websocket":       overWebSocket,
	"plain websocket": "/ws",
}

// knock sends the first request of an entrance.
func (s *server) knock(t *testing.T, path string, header ...string) answer {
	t.Helper()
	if path == polling {
		return s.request(t, "GET", path, "", header...)
	}
	w, a := s.dial(t, path, header...)
	if w != nil {
		w.Close()
	}
	return a
}

// corsHeaders are the headers of an answer that say something about origins.
func corsHeaders(a answer) []string {
	var names []string
	for name := range a.header {
		if strings.HasPrefix(name, "Access-Control-") || name == "Vary" {
			names = append(names, name+": "+strings.Join(a.header[name], " | "))
		}
	}
	slices.Sort(names)
	return names
}

const allowed = "https://app.example.com"

func TestOrigins(t *testing.T) {
	t.Parallel()
	s := start(t, shipped, config{site: `realtime {
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
	for entrance, path := range entrances {
		for name, origin := range forbidden {
			t.Run("forbidden/"+entrance+"/"+name, func(t *testing.T) {
				mark := s.fence(t)
				a := s.knock(t, path, "Origin", origin)
				if a.status != http.StatusForbidden || a.body != `{"code":4,"message":"Forbidden"}` {
					t.Errorf("the answer is %d %s", a.status, a.body)
				}
				if a.header.Get("Content-Type") != "application/json" {
					t.Errorf("the answer is %s", a.header.Get("Content-Type"))
				}
				if headers := corsHeaders(a); len(headers) > 0 {
					t.Errorf("the answer has %q", headers)
				}
				s.wantOneRefusal(t, mark, origin)
			})
		}
		t.Run("forbidden/"+entrance+"/two of them", func(t *testing.T) {
			mark := s.fence(t)
			a := s.knock(t, path, "Origin", allowed, "Origin", allowed)
			if a.status != http.StatusForbidden || len(corsHeaders(a)) > 0 {
				t.Errorf("the answer is %d with %q", a.status, corsHeaders(a))
			}
			s.wantOneRefusal(t, mark, allowed)
		})
	}

	for entrance, path := range entrances {
		for _, origin := range []string{
			allowed, "HTTPS://App.EXAMPLE.com", "https://app.example.com:443", "https://a.b.wild.example",
			"http://localhost:5173", "http://localhost", "wss://app.example.com", "ws://localhost:5173",
		} {
			t.Run("allowed/"+entrance+"/"+origin, func(t *testing.T) {
				mark := s.fence(t)
				a := s.knock(t, path, "Origin", origin)
				want := http.StatusSwitchingProtocols
				if path == polling {
					want = http.StatusOK
					headers := []string{"Access-Control-Allow-Credentials: true", "Access-Control-Allow-Origin: " + origin, "Vary: Origin"}
					if got := corsHeaders(a); !slices.Equal(got, headers) {
						t.Errorf("the answer has %q, want %q", got, headers)
					}
				}
				if a.status != want {
					t.Errorf("the answer is %d %s", a.status, a.body)
				}
				s.log.wait(t, mark, "connected", "origin", origin)
			})
		}
		t.Run("allowed/"+entrance+"/a native client", func(t *testing.T) {
			a := s.knock(t, path)
			if a.status != http.StatusOK && a.status != http.StatusSwitchingProtocols {
				t.Errorf("the answer is %d %s", a.status, a.body)
			}
			if strings.Contains(strings.Join(corsHeaders(a), " "), "Access-Control") {
				t.Errorf("the answer has %q", corsHeaders(a))
			}
		})
		t.Run("allowed/"+entrance+"/the same origin", func(t *testing.T) {
			if a := s.knock(t, path, "Origin", s.url()); a.status >= 300 {
				t.Errorf("the answer is %d %s", a.status, a.body)
			}
		})
	}
}

// wantOneRefusal wants exactly one line since a mark, which says why.
func (s *server) wantOneRefusal(t *testing.T, mark int, origin string) {
	t.Helper()
	lines := only(s.settle(t, mark), "refused")
	if len(lines) != 1 || !lines[0].is("refused", "message", "Forbidden") {
		t.Fatalf("the log has not one refusal:\n%s", s.log.text(mark))
	}
	l := lines[0]
	if !strings.Contains(l.string("reason"), "is forbidden: ") || l.string("client_ip") != "127.0.0.1" || l.string("path") == "" {
		t.Errorf("the line does not say enough: %s", l.text)
	}
	if origins, ok := l.fields["origin"].([]any); !ok || len(origins) == 0 || origins[0] != origin {
		t.Errorf("the line has not the origin: %s", l.text)
	}
}

// The policy holds for every request, not only for the first: a session's id
// that leaked is of no use to another site.
func TestOriginOfLaterRequests(t *testing.T) {
	t.Parallel()
	s := start(t, withGuest, config{site: "realtime {\n origins https://app.example.com \n handler echo \n}"})
	c := s.openSession(t, "Origin", allowed)
	c.connect()
	thief := &session{s, t, c.id, []string{"Origin", "https://evil.test"}}
	for what, a := range map[string]answer{
		"GET":  thief.get(),
		"POST": thief.post(`42["message"]`),
	} {
		if a.status != http.StatusForbidden || len(corsHeaders(a)) > 0 {
			t.Errorf("%s: the answer is %d %s with %q", what, a.status, a.body, corsHeaders(a))
		}
	}
	if _, a := s.dial(t, overWebSocket+"&sid="+c.id, "Origin", "https://evil.test"); a.status != http.StatusForbidden {
		t.Errorf("upgrade: the answer is %d %s", a.status, a.body)
	}
	c.alive()
	a := c.post(`42["message"]`)
	want := []string{"Access-Control-Allow-Credentials: true", "Access-Control-Allow-Origin: " + allowed, "Vary: Origin"}
	if got := corsHeaders(a); !slices.Equal(got, want) {
		t.Errorf("the answer to a POST has %q, want %q", got, want)
	}
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	s := start(t, shipped, config{site: "realtime {\n origins https://app.example.com \n}"})
	preflight := []string{"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type,x-tenant"}

	a := s.request(t, "OPTIONS", polling, "", append(preflight, "Origin", allowed)...)
	if a.status != http.StatusNoContent || a.body != "" {
		t.Errorf("the answer is %d %q", a.status, a.body)
	}
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin":      allowed,
		"Access-Control-Allow-Credentials": "true",
		"Access-Control-Allow-Headers":     "content-type,x-tenant",
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if methods := a.header.Get("Access-Control-Allow-Methods"); !strings.Contains(methods, "POST") || !strings.Contains(methods, "GET") {
		t.Errorf("the methods are %q", methods)
	}
	if vary := strings.Join(a.header.Values("Vary"), ", "); !strings.Contains(vary, "Origin") || !strings.Contains(vary, "Access-Control-Request-Headers") {
		t.Errorf("Vary is %q", vary)
	}

	mark := s.fence(t)
	a = s.request(t, "OPTIONS", polling, "", append(preflight, "Origin", "https://evil.test")...)
	if a.status != http.StatusForbidden || len(corsHeaders(a)) > 0 {
		t.Errorf("to another site the answer is %d with %q", a.status, corsHeaders(a))
	}
	s.wantOneRefusal(t, mark, "https://evil.test")
}

// Without any origins, only the endpoint's own pages may connect.
func TestOriginByDefault(t *testing.T) {
	t.Parallel()
	s := start(t, shipped, config{site: "realtime {\n websocket /ws \n}"})
	for entrance, path := range entrances {
		if a := s.knock(t, path, "Origin", allowed); a.status != http.StatusForbidden || len(corsHeaders(a)) > 0 {
			t.Errorf("%s: another site is answered %d with %q", entrance, a.status, corsHeaders(a))
		}
		if a := s.knock(t, path, "Origin", s.url()); a.status >= 300 {
			t.Errorf("%s: the same origin is answered %d", entrance, a.status)
		}
		if a := s.knock(t, path, "Origin", strings.Replace(s.url(), "127.0.0.1", "localhost", 1)); a.status != http.StatusForbidden {
			t.Errorf("%s: another name of the same address is answered %d", entrance, a.status)
		}
	}
}

func TestOriginStrictAndAny(t *testing.T) {
	t.Parallel()
	s := start(t, shipped, config{site: `
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
	if a := s.request(t, "GET", strict, ""); a.status != http.StatusForbidden {
		t.Errorf("strict: a native client is answered %d", a.status)
	}
	if a := s.request(t, "GET", strict, "", "Origin", allowed); a.status != http.StatusOK {
		t.Errorf("strict: an allowed origin is answered %d", a.status)
	}
	a := s.request(t, "GET", polling, "", "Origin", "https://anyone.test")
	if want := []string{"Access-Control-Allow-Origin: *", "Vary: Origin"}; a.status != http.StatusOK || !slices.Equal(corsHeaders(a), want) {
		t.Errorf("any: the answer is %d with %q, want %q", a.status, corsHeaders(a), want)
	}
	for _, origin := range []string{"file://", "wss://other.test", "anything, at all", ""} {
		if a := s.request(t, "GET", polling, "", "Origin", origin); a.status != http.StatusOK || !slices.Equal(corsHeaders(a), []string{"Access-Control-Allow-Origin: *", "Vary: Origin"}) {
			t.Errorf("any: %q is answered %d with %q", origin, a.status, corsHeaders(a))
		}
	}
	if a := s.request(t, "GET", polling, "", "Origin", "https://a.test", "Origin", "https://b.test"); a.status != http.StatusForbidden {
		t.Errorf("any: two origins are answered %d", a.status)
	}
}

// TestOriginInLog: who reads the log of a refusal knows what to write.
func TestOriginInLog(t *testing.T) {
	t.Parallel()
	s := start(t, shipped, config{site: "realtime {\n websocket /ws \n origins https://app.example.com \n}"})
	for entrance, path := range entrances {
		mark := s.fence(t)
		s.knock(t, path, "Origin", "capacitor://localhost")
		l := s.log.wait(t, mark, "refused", "message", "Forbidden")
		for _, part := range []string{`"capacitor://localhost"`, "this site is http(s)://127.0.0.1:", "listed are https://app.example.com", "write origins https://app.example.com capacitor://localhost"} {
			if !strings.Contains(l.string("reason"), part) {
				t.Errorf("%s: the reason lacks %s: %s", entrance, part, l.string("reason"))
			}
		}
		mark = s.fence(t)
		s.knock(t, path, "Origin", "https://"+strings.Repeat("a", 10_000))
		if l := s.log.wait(t, mark, "refused", "message", "Forbidden"); len(l.text) > 3000 {
			t.Errorf("%s: a line has %d bytes", entrance, len(l.text))
		}
	}
}
