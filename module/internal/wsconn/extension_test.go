package wsconn

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestAcceptOffer(t *testing.T) {
	const name = "permessage-deflate"
	tests := []struct {
		name   string
		lists  []string
		ok     bool
		window bool
	}{
		{"nothing", nil, false, false},
		{"an empty list", []string{""}, false, false},
		{"Safari's", []string{name}, true, false},
		{"Chromium's", []string{name + "; client_max_window_bits"}, true, false},
		{"all that we can do", []string{name + "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15; client_max_window_bits=9"}, true, true},
		{"no blanks", []string{name + ";client_max_window_bits=15;server_no_context_takeover"}, true, false},
		{"many blanks", []string{"\t " + name + " \t; client_max_window_bits = 10 ;\tserver_max_window_bits\t=\t15 "}, true, true},
		{"quotes", []string{name + `; client_max_window_bits="10"; server_max_window_bits="15"`}, true, true},

		{"a smaller window", []string{name + "; server_max_window_bits=14"}, false, false},
		{"the smallest window", []string{name + "; server_max_window_bits=8"}, false, false},
		{"a window of no size", []string{name + "; server_max_window_bits"}, false, false},
		{"a window that is none", []string{name + "; server_max_window_bits=16"}, false, false},
		{"a window of the client that is too small", []string{name + "; client_max_window_bits=7"}, false, false},
		{"a window of the client that is too large", []string{name + "; client_max_window_bits=16"}, false, false},
		{"a leading zero", []string{name + "; client_max_window_bits=08"}, false, false},
		{"a sign", []string{name + "; client_max_window_bits=+9"}, false, false},
		{"no number", []string{name + "; client_max_window_bits=x"}, false, false},
		{"an empty value", []string{name + "; client_max_window_bits="}, false, false},
		{"an empty string", []string{name + `; client_max_window_bits=""`}, false, false},
		{"half a string", []string{name + `; client_max_window_bits="10`}, false, false},
		{"a quote alone", []string{name + `; client_max_window_bits="`}, false, false},
		{"a value where none belongs", []string{name + "; server_no_context_takeover=1"}, false, false},
		{"a window where none belongs", []string{name + "; client_no_context_takeover=15"}, false, false},
		{"an unknown parameter", []string{name + "; mercurial"}, false, false},
		{"an unknown parameter with a value", []string{name + "; window=15"}, false, false},
		{"one twice", []string{name + "; client_max_window_bits; client_max_window_bits"}, false, false},
		{"one twice that differs", []string{name + "; client_max_window_bits=10; client_max_window_bits"}, false, false},
		{"an empty parameter", []string{name + ";"}, false, false},
		{"an empty parameter before another", []string{name + ";; client_max_window_bits"}, false, false},
		{"another case", []string{"Permessage-Deflate"}, false, false},
		{"another case of a parameter", []string{name + "; Client_max_window_bits"}, false, false},
		{"an older extension", []string{"x-webkit-deflate-frame"}, false, false},

		{"a second offer", []string{name + "; server_max_window_bits=10, " + name}, true, false},
		{"a second offer that is as bad", []string{name + "; server_max_window_bits=10, " + name + "; x"}, false, false},
		{"a second header", []string{name + "; server_max_window_bits=10", name + "; server_max_window_bits=15"}, true, true},
		{"the first that will do", []string{name + ", " + name + "; server_max_window_bits=15"}, true, false},
		{"others before and after", []string{"foo; bar=1, " + name + ", baz"}, true, false},
		{"empty elements", []string{", ,," + name + ",,"}, true, false},
		{"a separator in a string", []string{`foo; bar="a,b;c\",` + name + `", ` + name + "; client_max_window_bits"}, true, false},
		{"all of it in a string", []string{`foo; bar=", ` + name + `"`}, false, false},
		{"a string without an end", []string{`foo; bar="x, ` + name}, false, false},
		{"a string without an end, and a second header", []string{`foo; bar="x`, name}, true, false},

		// GHSA-5v72-xg48-5rpm
		{"a property of objects", []string{"constructor"}, false, false},
		{"a property of objects, and an offer", []string{"constructor, __proto__; toString=1, " + name}, true, false},
		{"a property of objects as a parameter", []string{name + "; constructor"}, false, false},
		{"properties of objects as a parameter", []string{name + "; __proto__=15"}, false, false},
	}
	for _, test := range tests {
		header := make(http.Header)
		for _, list := range test.lists {
			header.Add("Sec-WebSocket-Extensions", list)
		}
		if o, ok := acceptOffer(header); ok != test.ok || o.window != test.window {
			t.Errorf("%s: %q: got %+v, %v", test.name, test.lists, o, ok)
		}
	}
}

// TestNegotiation: the answers on the wire of a server that compresses, and of one that does
// not.
func TestNegotiation(t *testing.T) {
	const answer = "\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	for _, test := range []struct {
		offer    string
		compress bool
		want     string
	}{
		{"permessage-deflate; client_max_window_bits", true, answer + "\r\n"},
		{"permessage-deflate; server_max_window_bits=15", true, answer + "; server_max_window_bits=15\r\n"},
		{"permessage-deflate; server_max_window_bits=12, permessage-deflate", true, answer + "\r\n"},
		{"permessage-deflate; server_max_window_bits=12", true, ""},
		{"constructor", true, ""},
		{"foo=;, permessage-deflate", true, answer + "\r\n"}, // where gorilla's parser gives up
		{"", true, ""},
		{"permessage-deflate; client_max_window_bits", false, ""},
	} {
		conn := &scriptConn{step: 1}
		c := acceptOffering(t, conn, test.offer, Options{Queue: fixed(1000), Compress: test.compress})
		flushed(c)
		end(c)
		out := string(conn.written())
		if !strings.HasPrefix(out, "HTTP/1.1 101 ") || strings.Contains(out, "Sec-WebSocket-Extensions") != (test.want != "") || !strings.Contains(out, test.want) {
			t.Errorf("%q: answered %q", test.offer, out)
		}
		if c.Deflates() != (test.want != "") {
			t.Errorf("%q: the connection takes compressed messages: %v", test.offer, c.Deflates())
		}
	}
}

// TestLongOffer: the time for an offer grows with its length only.
func TestLongOffer(t *testing.T) {
	for _, list := range []string{
		strings.Repeat("permessage-deflate; x,", 50_000),
		"permessage-deflate" + strings.Repeat("; client_max_window_bits=\"9", 40_000),
		strings.Repeat(`"\`, 500_000),
		strings.Repeat(",", 1_000_000),
	} {
		start := time.Now()
		if _, ok := acceptOffer(http.Header{"Sec-Websocket-Extensions": {list}}); ok {
			t.Errorf("%.30q was accepted", list)
		}
		if took := time.Since(start); took > patience {
			t.Errorf("%.30q took %v", list, took)
		}
	}
}

func FuzzAcceptOffer(f *testing.F) {
	for _, list := range []string{"", "permessage-deflate", `a;b="c,\"d", permessage-deflate; client_max_window_bits="10"`, "permessage-deflate; server_max_window_bits=15"} {
		f.Add(list, "")
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		header := http.Header{"Sec-Websocket-Extensions": {first, second}}
		o, ok := acceptOffer(header)
		all := first + "\n" + second
		if ok && !strings.Contains(all, "permessage-deflate") || o.window && !strings.Contains(all, "server_max_window_bits") {
			t.Fatalf("%q: accepted %+v", all, o)
		}
		header.Add("Sec-WebSocket-Extensions", "permessage-deflate")
		if _, ok := acceptOffer(header); !ok {
			t.Fatalf("%q: a good offer in a header of its own was not seen", all)
		}
	})
}
