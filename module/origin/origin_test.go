package origin

import (
	"net/http"
	"net/url"
	"testing"
)

// FuzzCheck puts any Origin to a policy of any pattern, at any Host.
func FuzzCheck(f *testing.F) {
	for _, seed := range [][3]string{
		{"https://app.example.com", "https://app.example.com", "rt.example.com"},
		{"https://APP.example.com:443", "https://*.example.com", "rt.example.com"},
		{"http://localhost:3000", "http://localhost:*", "localhost:3000"},
		{"http://172.20.0.1:5173", "http://172.16.0.0/12:*", "172.20.0.1"},
		{"http://[FD00::1]", "http://[fd00::]/8", "[fd00::1]:80"},
		{"http://[::ffff:10.0.0.1]", "http://[::ffff:10.0.0.0]/104:*", "[::ffff:a00:1]"},
		{"https://BÜCHER.example", "https://xn--bcher-kva.example", "bücher.example"},
		{"app://.", "app://.", "localhost"},
		{"qrc://", "qrc://", ""},
		{"wss://app.example.com", "https://app.example.com", "rt.example.com"},
		{"file://", "null", "null"},
		{"capacitor://localhost", "capacitor://localhost", "localhost"},
		{"null", "null", "null"},
		{"https://user@evil.test/x?y#z", "*", "user@evil.test"},
		{"http://[[::1]", "http://[::1]", "[[::1]"},
		{"https://127.1", "https://127.0.0.1", "127.1"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, sent, pat, host string) {
		p, err := New(pat)
		if err != nil {
			p = nil
		}
		at := func(origin string) *http.Request {
			return &http.Request{Host: host, Header: http.Header{"Origin": {origin}}}
		}

		h := http.Header{}
		p.SetHeaders(h, at(sent))
		err = p.Check(at(sent))
		if (err == nil) != (h.Get("Access-Control-Allow-Origin") != "") {
			t.Fatalf("%q: %v, but headers %v", sent, err, h)
		}
		if err != nil || isOpaque(sent) {
			return
		}
		if p != nil && p.any {
			if got := h.Get("Access-Control-Allow-Origin"); got != "*" || h.Get("Access-Control-Allow-Credentials") != "" {
				t.Fatalf("%q is granted %v by *", sent, h)
			}
			return
		}

		o, err := parse(sent)
		if err != nil {
			t.Fatalf("%q is allowed but no origin: %v", sent, err)
		}
		normal := o.String()
		if again, err := parse(normal); err != nil || again != o {
			t.Fatalf("%q has the normal form %q, which parses to %v, %v", sent, normal, again, err)
		}
		if err := p.Check(at(normal)); err != nil {
			t.Fatalf("%q is allowed, its normal form %q is not: %v", sent, normal, err)
		}
		// A second opinion on the normal form, by a parser that knows nothing of ours.
		u, err := url.Parse(normal)
		if err != nil || u.Scheme+"://"+u.Host != normal || u.Scheme != o.scheme || o.host != "" && u.Hostname() != o.host {
			t.Fatalf("net/url reads %q as %+v, %v", normal, u, err)
		}

		// A longer name is another site, unless it is the very one that r asks.
		single := p == nil || !p.any && len(p.patterns) == 0
		longer, err := parse(o.authority("") + ".evil.test" + o.portSuffix())
		if single && err == nil && !longer.serves(at(sent)) && p.Check(at(longer.String())) == nil {
			t.Fatalf("%q is allowed by %v, and so is %q", sent, p, longer)
		}
	})
}
