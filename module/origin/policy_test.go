package origin

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// request is one to https://rt.example.com behind a proxy, sent by pages of the
// given origins.
func request(origins ...string) *http.Request {
	r := &http.Request{Method: http.MethodGet, Host: "rt.example.com", Header: http.Header{}}
	if len(origins) > 0 {
		r.Header["Origin"] = origins
	}
	return r
}

func policy(t testing.TB, patterns ...string) *Policy {
	t.Helper()
	p, err := New(patterns...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPatterns(t *testing.T) {
	tests := []struct {
		patterns string // of one policy, separated by spaces
		allowed  []string
		refused  []string
	}{{
		patterns: "https://app.example.com",
		allowed: []string{
			"https://app.example.com", "https://app.example.com:443",
			"HTTPS://APP.Example.COM", "https://App.example.com:443",
			"wss://app.example.com", "WSS://App.Example.com:443", // as Apple's Starscream has it
		},
		refused: []string{
			"http://app.example.com", "https://app.example.com:8443", "https://app.example.com:80",
			"https://example.com", "https://a.app.example.com", "https://app.example.org", "null",
			"wss://app.example.com:8443", "ws://app.example.com", "wss://a.app.example.com", "wss://app.example.com/",
			"wss://user@app.example.com", "wss://app.example.com.", "wss://",
		},
	}, {
		patterns: "HTTPS://App.Example.com:443",
		allowed:  []string{"https://app.example.com", "https://app.example.com:443"},
		refused:  []string{"http://app.example.com:443"},
	}, {
		patterns: "http://app.example.com:8080",
		allowed:  []string{"http://app.example.com:8080"},
		refused:  []string{"http://app.example.com", "http://app.example.com:80", "http://app.example.com:80801", "https://app.example.com:8080"},
	}, {
		patterns: "https://*.example.com",
		allowed:  []string{"https://a.example.com", "https://a.b.example.com", "https://A.EXAMPLE.com:443", "https://xn--bcher-kva.example.com"},
		refused: []string{
			"https://example.com", "https://.example.com", "https://evilexample.com", "https://a..example.com",
			"https://*.example.com", "https://a.example.com.evil.test", "https://a.example.com:8443", "http://a.example.com",
			"https://a.example.co", "https://-evil.test/.example.com", `https://evil.test\.example.com`, "https://evil.test%2f.example.com",
		},
	}, {
		patterns: "https://kiosk.example.com",
		allowed:  []string{"https://KIOSK.example.com"},
		refused:  []string{"https://\u212aiosk.example.com", "https://k\u0130osk.example.com", "https://kio\u017fk.example.com"}, // whose lower case is ASCII, or upper
	}, {
		patterns: "http://*.localhost:*",
		allowed:  []string{"http://a.localhost", "http://a.localhost:3000", "http://a.b.localhost:80"},
		refused:  []string{"http://localhost:3000", "https://a.localhost:3000", "http://localhost"},
	}, {
		patterns: "http://localhost:*",
		allowed:  []string{"http://localhost", "http://localhost:1", "http://localhost:3000", "http://LOCALHOST:65535"},
		refused: []string{
			"https://localhost:3000", "http://localhost:", "http://localhost:0", "http://localhost:65536", "http://localhost:03000",
			"http://localhost:*", "http://localhost:3000.evil.test", "http://localhost:+80", "http://localhost.evil.test:3000",
			"http://a.localhost:3000", "http://127.0.0.1:3000", "http://localhost:99999999999999999999",
		},
	}, {
		patterns: "http://172.16.0.0/12:*",
		allowed:  []string{"http://172.16.0.0", "http://172.31.255.255:5173", "http://172.20.1.2:80"},
		refused: []string{
			"http://172.32.0.0:5173", "http://172.15.255.255", "https://172.16.0.1", "http://[::ffff:172.16.0.1]",
			"http://172.16.0.1.evil.test", "http://172.16.1", "http://0xac.16.0.1", "http://2886729729", "http://172.016.0.1",
			"http://172.16.0.0/12",
		},
	}, {
		patterns: "http://192.168.1.0/24",
		allowed:  []string{"http://192.168.1.7", "http://192.168.1.7:80"},
		refused:  []string{"http://192.168.1.7:8080", "http://192.168.2.7"},
	}, {
		patterns: "https://10.0.0.0/8:8443",
		allowed:  []string{"https://10.1.2.3:8443"},
		refused:  []string{"https://10.1.2.3", "https://11.1.2.3:8443"},
	}, {
		patterns: "http://[fd00::]/8:*",
		allowed:  []string{"http://[fd00::1]", "http://[fdff:1:2::3]:8080", "http://[FD00:0:0:0::1]"},
		refused: []string{
			"http://[fe80::1]", "http://[fd00::1%25eth0]", "http://[fd00::1%eth0]", "http://fd00::1", "http://[fd00::1", "http://[fd00::1]x:80",
			"http://[[fd00::1]", "http://[fd00::1]]", "http://[]", "http://[10.0.0.1]",
		},
	}, {
		patterns: "http://[::1]:3000",
		allowed:  []string{"http://[::1]:3000", "http://[0:0:0:0:0:0:0:1]:3000"},
		refused:  []string{"http://[::1]", "http://[::2]:3000"},
	}, {
		patterns: "https://bücher.example",
		allowed:  []string{"https://xn--bcher-kva.example", "https://bücher.example", "https://BÜCHER.example:443"},
		refused:  []string{"https://bucher.example", "https://bu\u0308cher.example", "https://bücher.example.", "https://bücher\u3002example"},
	}, {
		patterns: "https://xn--bcher-kva.example",
		allowed:  []string{"https://bücher.example", "https://XN--BCHER-KVA.example"},
		refused:  []string{"https://xn--bcher-kvb.example"},
	}, {
		patterns: "https://*.bücher.example",
		allowed:  []string{"https://shop.xn--bcher-kva.example", "https://größe.bücher.example"},
		refused:  []string{"https://bücher.example"},
	}, {
		patterns: "capacitor://localhost tauri://localhost chrome-extension://abcdefghijklmnopabcdefghijklmnop app://localhost:1234",
		allowed: []string{
			"capacitor://localhost", "tauri://localhost", "Capacitor://LOCALHOST",
			"chrome-extension://abcdefghijklmnopabcdefghijklmnop", "app://localhost:1234",
		},
		refused: []string{
			"ionic://localhost", "capacitor://localhost:80", "capacitor://localhost.evil.test", "capacitor://", "capacitor://localhost/",
			"http://localhost", "https://localhost", "chrome-extension://ponmlkjihgfedcbaponmlkjihgfedcba", "app://localhost",
		},
	}, {
		// Electron, Qt, Capacitor and Tauri, and extensions of browsers.
		patterns: "app://. app://- qrc:// content:// capacitor-electron://- tauri://localhost http://tauri.localhost " +
			"moz-extension://0a1b2c3d-0000-4000-8000-00000000beef safari-web-extension://0A1B2C3D-0000-4000-8000-00000000BEEF vscode-webview://1abc2",
		allowed: []string{
			"app://.", "APP://.", "app://-", "qrc://", "content://", "capacitor-electron://-", "tauri://localhost", "http://tauri.localhost",
			"moz-extension://0a1b2c3d-0000-4000-8000-00000000beef", "safari-web-extension://0a1b2c3d-0000-4000-8000-00000000beef", "vscode-webview://1abc2",
		},
		refused: []string{
			"app://", "app://..", "app://./", "app://.:80", "app://evil.test", "app://*", "app://a@.", "qrc:", "qrc:///", "qrc://evil.test", "http://.", "https://",
			"app://%2e", "app://\u2024", "tauri://tauri.localhost", "moz-extension://", "null", "file://",
		},
	}, {
		patterns: "null",
		allowed:  []string{"null", "file://", "FILE://"}, // of Electron, and of devices
		refused: []string{
			"NULL", "Null", " null", "null null", "http://null", "https://app.example.com",
			"file:///", "file:", "file://app.example.com", "file://localhost", "file:///etc/passwd", " file://", "file://,null",
		},
	}, {
		patterns: "*",
		allowed: []string{
			"null", "https://evil.test", "http://[::1]:3000", "capacitor://localhost", "file://", "wss://evil.test",
			"", "*", "https://a.test, https://b.test", "https://user@a.test", "https://a.test/", "javascript:alert(1)", "example.com:80", "\xff",
			strings.Repeat("a", 1<<20),
		},
	}, {
		patterns: "https://a.test https://a.test HTTPS://A.TEST:443 https://*.b.test https://*.b.test",
		allowed:  []string{"https://a.test", "https://x.b.test"},
		refused:  []string{"https://b.test"},
	}}
	for _, test := range tests {
		t.Run(test.patterns, func(t *testing.T) {
			p := policy(t, strings.Fields(test.patterns)...)
			for _, o := range test.allowed {
				if err := p.Check(request(o)); err != nil {
					t.Errorf("%q: %v", o, err)
				}
			}
			for _, o := range test.refused {
				if p.Check(request(o)) == nil {
					t.Errorf("%q is allowed", o)
				}
			}
			if err := p.Check(request()); err != nil {
				t.Errorf("no Origin: %v", err)
			}
			// The site itself stays welcome, whatever is listed.
			if err := p.Check(request("https://rt.example.com")); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestTricks is the "17 Origin tricks" of the threat list and more: what an
// attacker's page, or a client that forges, sends to get past one listed origin
// and the site's own.
func TestTricks(t *testing.T) {
	tricks := map[string]string{
		"suffix":                "https://app.example.com.evil.test",
		"suffix without a dot":  "https://app.example.comevil.test",
		"shorter":               "https://app.example.co",
		"prefix":                "https://evilapp.example.com",
		"prefix label":          "https://evil.app.example.com",
		"prefix of own site":    "https://evilrt.example.com",
		"suffix of own site":    "https://rt.example.com.evil.test",
		"apex":                  "https://example.com",
		"null":                  "null",
		"another port":          "https://app.example.com:8443",
		"port of http":          "https://app.example.com:80",
		"port overflow":         "https://app.example.com:65979", // 443 modulo 65536
		"port with zeros":       "https://app.example.com:0443",
		"port with a sign":      "https://app.example.com:+443",
		"empty port":            "https://app.example.com:",
		"two ports":             "https://app.example.com:443:443",
		"http for https":        "http://app.example.com",
		"another scheme":        "ftp://app.example.com",
		"websocket scheme":      "ws://app.example.com", // http
		"websocket, prefix":     "wss://evil.app.example.com",
		"no scheme":             "app.example.com",
		"empty scheme":          "://app.example.com",
		"scheme-relative":       "//app.example.com",
		"nested scheme":         "blob:https://app.example.com",
		"view-source":           "view-source:https://app.example.com",
		"scheme in the host":    "https://https://app.example.com",
		"one slash":             "https:/app.example.com",
		"three slashes":         "https:///app.example.com",
		"userinfo before":       "https://app.example.com@evil.test",
		"userinfo with a port":  "https://app.example.com:443@evil.test",
		"userinfo":              "https://user@app.example.com",
		"userinfo and password": "https://user:pass@app.example.com",
		"empty userinfo":        "https://@app.example.com",
		"trailing dot":          "https://app.example.com.",
		"two trailing dots":     "https://app.example.com..",
		"dot and port":          "https://app.example.com.:443",
		"leading dot":           "https://.app.example.com",
		"homograph":             "https://\u0430pp.example.com", // Cyrillic a
		"homograph, punycode":   "https://xn--pp-6kc.example.com",
		"full width":            "https://\uff41pp.example.com",
		"Kelvin sign":           "https://app.example.com\u212a",
		"ideographic dot":       "https://app\u3002example.com",
		"soft hyphen":           "https://app.exam\u00adple.com",
		"zero-width space":      "https://app.example.com\u200b",
		"ASCII as punycode":     "https://xn--app-.example.com",
		"the same, mixed":       "https://xn--app-.example.com\u00fc",
		"bad UTF-8":             "https://app.example.com\xff",
		"line separator":        "https://app.example.com\u2028",
		"list, space":           "https://app.example.com https://evil.test",
		"list, comma":           "https://app.example.com,https://evil.test",
		"list, comma and space": "https://evil.test, https://app.example.com",
		"list with null":        "null https://app.example.com",
		"file":                  "file://",
		"file with a path":      "file:///app.example.com",
		"file with a host":      "file://app.example.com",
		"trailing slash":        "https://app.example.com/",
		"path":                  "https://app.example.com/x",
		"path before":           "https://evil.test/app.example.com",
		"path after a port":     "https://app.example.com:443/",
		"query":                 "https://app.example.com?x",
		"query before":          "https://evil.test?.app.example.com",
		"fragment":              "https://app.example.com#x",
		"fragment before":       "https://evil.test#.app.example.com",
		"backslash":             `https://evil.test\.app.example.com`,
		"backslash after":       `https://app.example.com\`,
		"percent-encoded":       "https://app%2eexample.com",
		"percent-encoded NUL":   "https://app.example.com%00.evil.test",
		"NUL":                   "https://app.example.com\x00.evil.test",
		"tab":                   "https://app.example.com\t",
		"tab inside":            "https://app.\texample.com",
		"line feed":             "https://app.example.com\n",
		"delete":                "https://app.example.com\x7f",
		"leading space":         " https://app.example.com",
		"trailing space":        "https://app.example.com ",
		"quotes":                `"https://app.example.com"`,
		"underscore for a dot":  "https://app_example.com",
		"any byte for a dot":    "https://appxexample.com",
		"wildcard":              "https://*.example.com",
		"asterisk":              "*",
		"braces":                "https://{app}.example.com",
		"backtick":              "https://app.example.com`.evil.test",
		"brackets":              "https://[app.example.com]",
		"empty":                 "",
		"scheme only":           "https://",
		"too long":              "https://" + strings.Repeat("a.", 300) + "app.example.com",
		"long label":            "https://" + strings.Repeat("a", 64) + ".app.example.com",
	}
	policies := map[string]*Policy{
		"exact":       policy(t, "https://app.example.com"),
		"same origin": nil,
	}
	for name, sent := range tricks {
		t.Run(name, func(t *testing.T) {
			for kind, p := range policies {
				var forbidden *ForbiddenError
				if err := p.Check(request(sent)); !errors.As(err, &forbidden) {
					t.Fatalf("%s: %q gives %v, want a ForbiddenError", kind, sent, err)
				}
				if forbidden.Origin != sent || forbidden.Reason == "" {
					t.Errorf("%s: %#v", kind, forbidden)
				}
				h := http.Header{}
				p.SetHeaders(h, request(sent))
				if got := h.Get("Access-Control-Allow-Origin"); got != "" {
					t.Errorf("%s: %q is granted %q", kind, sent, got)
				}
			}
		})
	}
}

func TestSeveralOriginHeaders(t *testing.T) {
	for _, p := range []*Policy{nil, policy(t, "https://app.example.com"), policy(t, "null"), policy(t, "*")} {
		for _, sent := range [][]string{
			{"https://app.example.com", "https://evil.test"},
			{"https://app.example.com", "https://app.example.com"},
			{"https://rt.example.com", ""},
			{"null", "null"},
		} {
			var forbidden *ForbiddenError
			if err := p.Check(request(sent...)); !errors.As(err, &forbidden) {
				t.Errorf("%v: %q: %v", p, sent, err)
			} else if want := strings.Join(sent, ", "); forbidden.Origin != want {
				t.Errorf("%v: Origin is %q, want %q", p, forbidden.Origin, want)
			}
		}
	}
}

func TestSameOrigin(t *testing.T) {
	tests := []struct {
		host, origin string
		plain, tls   bool // whether it is allowed without TLS, and with it
	}{
		{"rt.example.com", "https://rt.example.com", true, true},
		{"rt.example.com", "http://rt.example.com", true, false},
		{"rt.example.com", "wss://rt.example.com", true, true},
		{"rt.example.com:443", "wss://rt.example.com", true, true}, // Starscream's Host has the port
		{"rt.example.com", "ws://rt.example.com", true, false},
		{"rt.example.com:80", "ws://rt.example.com", true, false},
		{"localhost:3000", "ws://localhost:3000", true, false},
		{"rt.example.com", "wss://rt.example.com:8443", false, false},
		{"file", "file://", false, false},
		{"RT.example.com", "https://rt.EXAMPLE.com", true, true},
		{"rt.example.com:443", "https://rt.example.com", true, true},
		{"rt.example.com", "https://rt.example.com:443", true, true},
		{"rt.example.com:80", "http://rt.example.com", true, false},
		{"rt.example.com:80", "https://rt.example.com", false, false},
		{"rt.example.com:443", "http://rt.example.com", false, false},
		{"rt.example.com:8443", "https://rt.example.com:8443", true, true},
		{"rt.example.com:8443", "https://rt.example.com", false, false},
		{"rt.example.com", "https://rt.example.com:8443", false, false},
		{"localhost:3000", "http://localhost:3000", true, false},
		{"localhost:3000", "http://localhost:5173", false, false},
		{"localhost:3000", "http://127.0.0.1:3000", false, false},
		{"127.0.0.1:3000", "http://127.0.0.1:3000", true, false},
		{"[::1]:3000", "http://[::1]:3000", true, false},
		{"[0:0::1]", "https://[::1]", true, true},
		{"xn--bcher-kva.example", "https://bücher.example", true, true},
		{"bücher.example", "https://xn--bcher-kva.example", true, true},
		{"localhost", "capacitor://localhost", false, false},
		{"null", "null", false, false},
		{"", "https://", false, false},
		{"rt.example.com.", "https://rt.example.com", false, false},
		{"rt.example.com.", "https://rt.example.com.", false, false},
		{"rt.example.com:", "https://rt.example.com", false, false},
		{"rt.example.com/443", "https://rt.example.com", false, false},
		{"user@rt.example.com", "https://rt.example.com", false, false},
		{"user@rt.example.com", "https://user@rt.example.com", false, false},
		{"rt.example.com, evil.test", "https://evil.test", false, false},
		{"[::1", "https://[::1]", false, false},
	}
	strict := policy(t, "strict")
	listed := policy(t, "https://app.example.com")
	for _, p := range []*Policy{nil, {}, strict, listed} {
		for _, test := range tests {
			r := request(test.origin)
			r.Host = test.host
			if err := p.Check(r); (err == nil) != test.plain {
				t.Errorf("%v: %s at %q without TLS: %v", p, test.origin, test.host, err)
			}
			r.TLS = &tls.ConnectionState{}
			if err := p.Check(r); (err == nil) != test.tls {
				t.Errorf("%v: %s at %q with TLS: %v", p, test.origin, test.host, err)
			}
		}
	}
}

func TestStrict(t *testing.T) {
	for _, patterns := range [][]string{{"strict"}, {"strict", "https://app.example.com"}, {"strict", "*"}} {
		p := policy(t, patterns...)
		var forbidden *ForbiddenError
		if err := p.Check(request()); !errors.As(err, &forbidden) || forbidden.Origin != "" {
			t.Errorf("%v: no Origin: %v", p, err)
		}
		if err := p.Check(request("https://rt.example.com")); err != nil {
			t.Errorf("%v: %v", p, err)
		}
	}
}

func TestForbiddenError(t *testing.T) {
	listed := policy(t, "https://app.example.com")
	tests := []struct {
		policy *Policy
		sent   []string
		want   string
	}{
		{nil, []string{"https://evil.test"}, `origin "https://evil.test" is forbidden: not this site, and no other is listed; this site is http(s)://rt.example.com; to let it in, write origins https://evil.test`},
		{listed, []string{"https://evil.test"}, `origin "https://evil.test" is forbidden: neither this site nor listed; this site is http(s)://rt.example.com, and listed are https://app.example.com; to let it in, write origins https://app.example.com https://evil.test`},
		{listed, []string{"WSS://Evil.test:443"}, `origin "WSS://Evil.test:443" is forbidden: neither this site nor listed; this site is http(s)://rt.example.com, and listed are https://app.example.com; to let it in, write origins https://app.example.com https://evil.test`},
		{listed, []string{"null"}, `origin "null" is forbidden: it is anybody's, and null is not listed; to let it in, write origins https://app.example.com null`},
		{nil, []string{"file://"}, `origin "file://" is forbidden: it is anybody's, and null is not listed; to let it in, write origins null`},
		{listed, []string{"https://app.example.com/"}, `origin "https://app.example.com/" is forbidden: a path or trailing slash is no part of an origin; origins * alone would let it in`},
		{listed, []string{"https://a.test", "https://b.test"}, `origin "https://a.test, https://b.test" is forbidden: the request has more than one`},
		{listed, []string{"https://a.test\r\nX: y"}, `origin "https://a.test\r\nX: y" is forbidden: control characters are no part of an origin; origins * alone would let it in`},
		{listed, []string{strings.Repeat("a", 1<<20)}, `origin "` + strings.Repeat("a", 512) + `"… is forbidden: longer than any origin; origins * alone would let it in`},
		{policy(t, "strict"), nil, `origin "" is forbidden: a strict policy wants one, and the request has none; leave strict out to let it in`},
		{policy(t, "strict", "null"), []string{"app://."}, `origin "app://." is forbidden: neither this site nor listed; this site is http(s)://rt.example.com, and listed are null; to let it in, write origins strict null app://.`},
	}
	for _, test := range tests {
		if err := test.policy.Check(request(test.sent...)); err == nil || err.Error() != test.want {
			t.Errorf("%q:\n got %v\nwant %s", test.sent, err, test.want)
		}
	}
}

// TestForbiddenByUntrustedProxy: the error names trusted_proxies where it is a proxy
// that knows the site's host, and only there.
func TestForbiddenByUntrustedProxy(t *testing.T) {
	const hint = "; X-Forwarded-Host names it: if that is from a proxy of yours, write the proxy's address into trusted_proxies, else write origins https://app.example.com"
	for named, want := range map[string]bool{"app.example.com": true, "APP.example.com": true, "": false, "other.example.com": false, "rt.example.com": false} {
		r := request("https://app.example.com")
		r.Header.Set("X-Forwarded-Host", named)
		if err := policy(t).Check(r); err == nil || strings.HasSuffix(err.Error(), hint) != want {
			t.Errorf("%q: %v", named, err)
		}
	}
}

// TestForbiddenErrorIsBounded: neither what a client sends nor how many origins
// are listed makes a line of the log long, or two of it.
func TestForbiddenErrorIsBounded(t *testing.T) {
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf("https://app%d.example.com", i))
	}
	r := request("https://evil.test")
	r.Host = "a\r\nb\x1b[31m" + strings.Repeat("h", 1<<20)
	r.TLS = &tls.ConnectionState{}
	text := policy(t, many...).Check(r).Error()
	if len(text) > 2000 || strings.ContainsAny(text, "\r\n\x1b") {
		t.Errorf("%d bytes: %.3000s", len(text), text)
	}
	if !strings.Contains(text, `this site is https://a\r\nb`) || !strings.HasSuffix(text, "write origins … https://evil.test") {
		t.Error(text)
	}
	r.Header["Origin"] = []string{strings.Repeat("a", 1<<20), "b", "c", "d"}
	if all := SentAll(r); len(all) != 3 || len(all[0]) != maxLength || all[1] != "b" || len(Sent(r)) != maxLength {
		t.Errorf("kept are %d headers", len(all))
	}
}

func TestOnly(t *testing.T) {
	for _, sent := range []string{"wss://app.example.com", "file://", "not an origin", "https://app.example.com"} {
		p := Only(sent)
		if err := p.Check(request(sent)); err != nil {
			t.Error(err)
		}
		for _, other := range []string{"https://evil.test", "null", sent + "x", ""} {
			if p.Check(request(other)) == nil {
				t.Errorf("only %q: %q is allowed", sent, other)
			}
		}
	}
}

func TestString(t *testing.T) {
	tests := map[string]string{
		"":                                 "same-origin",
		"strict":                           "strict same-origin",
		"*":                                "*",
		"* *":                              "*",
		"strict *":                         "strict *",
		"null HTTPS://App.Example.com:443": "null https://app.example.com",
		"https://a.test http://b.test https://A.test": "https://a.test http://b.test",
		"https://*.Bücher.example:8443":               "https://*.xn--bcher-kva.example:8443",
		"http://*.localhost:* http://[::0001]:80":     "http://*.localhost:* http://[::1]",
		"http://172.16.0.0/12:* http://[FD00::]/8":    "http://172.16.0.0/12:* http://[fd00::]/8",
		"Capacitor://LocalHost app://x:1":             "capacitor://localhost app://x:1",
	}
	for patterns, want := range tests {
		p := policy(t, strings.Fields(patterns)...)
		if got := p.String(); got != want {
			t.Errorf("%q: got %q, want %q", patterns, got, want)
		}
	}
	if got := (*Policy)(nil).String(); got != "same-origin" {
		t.Errorf("nil: got %q", got)
	}
}

func TestCheckDoesNotAllocate(t *testing.T) {
	p := policy(t, "https://app.example.com", "https://*.example.org", "http://172.16.0.0/12:*")
	for _, o := range []string{
		"https://app.example.com", "https://a.example.org", "http://172.20.0.1:5173", "https://rt.example.com",
	} {
		r := request(o)
		if n := testing.AllocsPerRun(100, func() {
			if err := p.Check(r); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", o, n)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	p := policy(b, "https://app.example.com", "https://*.example.org")
	for name, o := range map[string]string{
		"exact": "https://app.example.com", "wildcard": "https://a.example.org", "site": "https://rt.example.com", "foreign": "https://evil.test",
	} {
		b.Run(name, func(b *testing.B) {
			r := request(o)
			b.ReportAllocs()
			for b.Loop() {
				_ = p.Check(r)
			}
		})
	}
}

// A page elsewhere can have us load an image or a script: browsers send cookies
// with that, but no Origin.
func TestEmbeddedRequests(t *testing.T) {
	for _, test := range []struct {
		patterns []string
		site     string
		allowed  bool
	}{
		{nil, "", true}, // a native client
		{nil, "same-origin", true},
		{nil, "same-site", true},
		{nil, "none", true}, // typed into the address bar
		{nil, "cross-site", false},
		{[]string{"https://app.example.com"}, "cross-site", false},
		{[]string{"*"}, "cross-site", true},
	} {
		policy, err := New(test.patterns...)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodGet, "https://example.com/socket.io/", nil)
		if test.site != "" {
			r.Header.Set("Sec-Fetch-Site", test.site)
		}
		if err := policy.Check(r); (err == nil) != test.allowed {
			t.Errorf("%q with Sec-Fetch-Site %q: %v", policy, test.site, err)
		}
	}
}
