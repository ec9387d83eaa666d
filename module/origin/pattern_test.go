package origin

import (
	"strings"
	"testing"
)

func TestPatternErrors(t *testing.T) {
	const (
		generic  = "; write scheme://host or scheme://host:port, as in https://app.example.com"
		wildcard = "* stands for whole labels before a host, or for the port; write it as in https://*.example.com or http://localhost:*"
		port     = "a port is a number from 1 to 65535 without leading zeros" + generic
		list     = "white space or a comma makes it a list; write each origin as a word of its own"
		every    = "a scheme's every host is too many to trust; write https://*.example.com, or * alone for every origin"
	)
	tests := []struct{ pattern, want string }{
		{"", "an origin cannot be empty; write it as in https://app.example.com"},

		{"app.example.com", "the scheme is missing; write https://app.example.com"},
		{"app.example.com:8443/", "the scheme is missing; write https://app.example.com:8443"},
		{"*.example.com", "the scheme is missing; write https://*.example.com"},
		{"//app.example.com", "the scheme is missing; write https://app.example.com"},
		{"https:/app.example.com", "the scheme is missing; write https://app.example.com"},
		{"http:app.example.com", "the scheme is missing; write http://app.example.com"},
		{"localhost", "the scheme is missing; write http://localhost"},
		{"localhost:*", "the scheme is missing; write http://localhost:*"},
		{"127.0.0.1:3000", "the scheme is missing; write http://127.0.0.1:3000"},
		{"[::1]:3000", "the scheme is missing; write http://[::1]:3000"},
		{"172.16.0.0/12:*", "the scheme is missing; write https://172.16.0.0/12:*"},
		{"NULL", "the scheme is missing; write null"},
		{"'self'", "the scheme is missing" + generic},
		{"https", "the scheme is missing" + generic},
		{"*://app.example.com", "the scheme cannot be a wildcard; write an http:// and an https:// origin"},
		{"http*://app.example.com", "the scheme cannot be a wildcard; write an http:// and an https:// origin"},
		{"1http://app.example.com", "the scheme is malformed" + generic},
		{"://app.example.com", "the scheme is malformed" + generic},
		{"wss://app.example.com/socket.io/", "an origin has the scheme of the page, not of the WebSocket; write https://app.example.com"},
		{"ws://localhost:3000", "an origin has the scheme of the page, not of the WebSocket; write http://localhost:3000"},
		{"file://", "a file has no origin but null; write null"},

		{"https://app.example.com/", "a path or trailing slash is no part of an origin; write https://app.example.com"},
		{"https://app.example.com:8443/x/y", "a path or trailing slash is no part of an origin; write https://app.example.com:8443"},
		{"https://app.example.com/8:*", "a path or trailing slash is no part of an origin; write https://app.example.com"},
		{"http://172.16.0.0/", "a path or trailing slash is no part of an origin; write http://172.16.0.0"},
		{"http://172.16.0.0/12:*/", "a path or trailing slash is no part of an origin; write http://172.16.0.0/12:*"},
		{"https://app.example.com?x=/", "a query is no part of an origin; write https://app.example.com"},
		{"https://app.example.com/#/", "a fragment is no part of an origin; write https://app.example.com"},
		{"https://me:pw@app.example.com", "a user name is no part of an origin; write https://app.example.com"},
		{"https://a.test,https://b.test", list},
		{"https://a.test https://b.test", list},
		{"https://a.test\n", "control characters are no part of an origin" + generic},
		{"https://" + strings.Repeat("a", 600), "longer than any origin" + generic},

		{"https://", "the host is missing" + generic},
		{"https://:443", "the host is missing" + generic},
		{"https://app..example.com", "the host is not a valid name" + generic},
		{"https://" + strings.Repeat("a", 64) + ".test", "the host is not a valid name" + generic},
		{"https://" + strings.Repeat("a.", 125) + "test", "the host is not a valid name" + generic}, // 254 bytes
		{"https://{$APP}", "the host is not a valid name" + generic},
		{"https://app.example.com.", "a host ends without a dot; write https://app.example.com"},
		{"https://\uff41pp.example.com", "the host is not a valid name" + generic},
		{"https://xn--app-.bücher.example", "the host is not a valid name" + generic},
		{"https://127.1", "the host is not a valid IP address" + generic},
		{"https://1.2.3.256", "the host is not a valid IP address" + generic},
		{"https://a.0x7f", "the host is not a valid IP address" + generic},
		{"http://[fd00::1", "the host is not a valid IP address" + generic},
		{"http://[fe80::1%eth0]:80", "the host is not a valid IP address" + generic},
		{"http://[127.0.0.1]", "the host is not a valid IP address" + generic},
		{"http://fd00::1", "an IPv6 address stands in brackets; write it as in http://[fd00::1]:8080"},

		{"https://*", every},
		{"https://*:8443", every},
		{"https://*.", "the host is missing" + generic},
		{"https://app*.example.com", wildcard},
		{"https://app.*.com", wildcard},
		{"https://app.example.*", wildcard},
		{"https://*.*.example.com", wildcard},
		{"https://**.example.com", wildcard},
		{"https://*example.com", wildcard},
		{"https://app.example.com:8*", wildcard},
		{"http://*.127.0.0.1", "an IP address has no subdomains; write a range, as in http://172.16.0.0/12"},
		{"capacitor://*.localhost", "wildcards and ranges need http or https; write each capacitor:// origin in full"},
		{"capacitor://localhost:*", "wildcards and ranges need http or https; write each capacitor:// origin in full"},
		{"app://10.0.0.0/8", "wildcards and ranges need http or https; write each app:// origin in full"},

		{"https://app.example.com:", "the port is missing after the colon; write https://app.example.com"},
		{"https://app.example.com:0", port},
		{"https://app.example.com:0443", port},
		{"https://app.example.com:65536", port},
		{"https://app.example.com:https", port},
		{"http://localhost:3000-3010", "ports cannot be a range; write one port, or :* for any"},

		{"http://172.16.0.0/33:*", "a range of such addresses has a length from /1 to /32; write it as in http://172.16.0.0/32"},
		{"http://172.16.0.0/012", "a range of such addresses has a length from /1 to /32; write it as in http://172.16.0.0/32"},
		{"http://0.0.0.0/0:*", "a range of such addresses has a length from /1 to /32; write it as in http://0.0.0.0/32"},
		{"http://[fd00::]/129", "a range of such addresses has a length from /1 to /128; write it as in http://[fd00::]/128"},
		{"http://172.16.5.9/12:*", "the address has bits beyond /12; write http://172.16.0.0/12:*"},
		{"http://[fd00::1]/8:8080", "the address has bits beyond /8; write http://[fd00::]/8:8080"},
		{"http://[fd00::/8]:*", "the length of a range comes after the bracket; write it as in http://[fd00::]/8"},
		{"http://172.16.0.0:*/12", "a range comes before the port, and a path is no part of an origin; write it as in http://172.16.0.0/12:*"},
	}
	for _, test := range tests {
		_, err := New("https://fine.example.com", test.pattern)
		if err == nil {
			t.Errorf("%q compiles", test.pattern)
			continue
		}
		_, got, ok := strings.Cut(err.Error(), ": ")
		prefix := strings.TrimSuffix(err.Error(), ": "+test.want)
		if !ok || !strings.HasPrefix(prefix, `origins "`) || prefix == err.Error() {
			t.Errorf("%q:\n got %s\nwant %s", test.pattern, got, test.want)
		}
	}
}

func TestMixedPatternErrors(t *testing.T) {
	const mixed = `origins "*": every origin is let in without credentials, listed ones with them; write * alone, or only the list`
	const strict = `origins "strict": strict comes before all origins; write it first, once`
	tests := []struct {
		patterns, want string
	}{
		{"* https://app.example.com", mixed},
		{"null *", mixed},
		{"strict * null", mixed},
		{"https://app.example.com strict", strict},
		{"strict strict", strict},
		{"https://app.example.com app.example.com", `origins "app.example.com": the scheme is missing; write https://app.example.com`},
	}
	for _, test := range tests {
		p, err := New(strings.Fields(test.patterns)...)
		if err == nil || err.Error() != test.want || p != nil {
			t.Errorf("%q:\n got %v, %v\nwant %s", test.patterns, p, err, test.want)
		}
	}
}

// FuzzNew compiles anything: what compiles has a normal form that compiles to
// the same, and what does not is told of a remedy that does.
func FuzzNew(f *testing.F) {
	for _, s := range []string{
		"", "*", "null", "strict", "https://app.example.com", "https://*.example.com:8443", "http://localhost:*",
		"http://172.16.0.0/12:*", "http://[fd00::]/8:*", "http://[::ffff:10.0.0.1]", "https://Bücher.example",
		"capacitor://localhost", "app.example.com/", "wss://app.example.com/x", "http://*.[::1]", "http://[[::1]",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := New(s)
		if err != nil {
			if fixed := repair(s); fixed != "" {
				policy(t, fixed)
			}
			return
		}
		if s == "strict" {
			return
		}
		normal := p.String()
		if again := policy(t, normal).String(); again != normal {
			t.Fatalf("%q has the normal form %q, and that has %q", s, normal, again)
		}
	})
}
