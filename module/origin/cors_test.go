package origin

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

func equal(a, b http.Header) bool { return maps.EqualFunc(a, b, slices.Equal[[]string]) }

func TestSetHeaders(t *testing.T) {
	vary := http.Header{"Vary": {"Origin"}}
	granted := func(origin string) http.Header {
		return http.Header{
			"Access-Control-Allow-Origin":      {origin},
			"Access-Control-Allow-Credentials": {"true"},
			"Vary":                             {"Origin"},
		}
	}
	anyone := http.Header{"Access-Control-Allow-Origin": {"*"}, "Vary": {"Origin"}}

	listed := policy(t, "https://app.example.com", "https://*.example.org", "null")
	tests := []struct {
		policy *Policy
		sent   []string
		want   http.Header
	}{
		{listed, nil, vary},
		{listed, []string{"https://app.example.com"}, granted("https://app.example.com")},
		{listed, []string{"HTTPS://App.example.com:443"}, granted("HTTPS://App.example.com:443")}, // as sent
		{listed, []string{"https://a.example.org"}, granted("https://a.example.org")},
		{listed, []string{"https://rt.example.com"}, granted("https://rt.example.com")},
		{listed, []string{"null"}, granted("null")},
		{listed, []string{"https://evil.test"}, vary},
		{listed, []string{"https://app.example.com", "https://evil.test"}, vary},
		{nil, []string{"https://rt.example.com"}, granted("https://rt.example.com")},
		{nil, []string{"https://app.example.com"}, vary},
		{nil, []string{"null"}, vary},
		{nil, nil, vary},
		{policy(t, "*"), []string{"https://evil.test"}, anyone},
		{policy(t, "*"), []string{"https://rt.example.com"}, anyone},
		{policy(t, "*"), []string{"null"}, anyone},
		{policy(t, "*"), []string{"https://evil.test/"}, anyone},
		{policy(t, "*"), []string{"anything, at all"}, anyone},
		{policy(t, "*"), []string{""}, anyone},
		{policy(t, "*"), []string{"https://evil.test", "https://evil.test"}, vary},
		{listed, []string{"file://"}, granted("file://")},
		{listed, []string{"wss://app.example.com"}, granted("wss://app.example.com")},
		{policy(t, "*"), nil, vary},
		{policy(t, "strict"), nil, vary},
	}
	for _, test := range tests {
		h := http.Header{}
		test.policy.SetHeaders(h, request(test.sent...))
		if !equal(h, test.want) {
			t.Errorf("%v: %q:\n got %v\nwant %v", test.policy, test.sent, h, test.want)
		}
		// Admit is as Check says, with the same headers for whom is let in.
		admitted, want := http.Header{}, http.Header{}
		refused := test.policy.Check(request(test.sent...))
		if refused == nil {
			want = h
		}
		if err := test.policy.Admit(admitted, request(test.sent...)); (err == nil) != (refused == nil) || !equal(admitted, want) {
			t.Errorf("%v: %q: admitted with %v and %v", test.policy, test.sent, admitted, err)
		}
	}
}

// BenchmarkAdmit is what each request of a page costs.
func BenchmarkAdmit(b *testing.B) {
	p, err := New("https://app.example.com")
	if err != nil {
		b.Fatal(err)
	}
	r := request("https://app.example.com")
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Admit(make(http.Header), r); err != nil {
			b.Fatal(err)
		}
	}
}

func TestVaryIsAdded(t *testing.T) {
	tests := []struct{ before, after []string }{
		{[]string{"Accept-Encoding"}, []string{"Accept-Encoding", "Origin"}},
		{[]string{"Accept-Encoding, origin"}, []string{"Accept-Encoding, origin"}},
		{[]string{"*"}, []string{"*"}},
		{[]string{"X-Origin"}, []string{"X-Origin", "Origin"}},
	}
	for _, test := range tests {
		h := http.Header{"Vary": slices.Clone(test.before)}
		policy(t, "https://app.example.com").SetHeaders(h, request("https://app.example.com"))
		if !slices.Equal(h["Vary"], test.after) {
			t.Errorf("%q: got %q, want %q", test.before, h["Vary"], test.after)
		}
	}
}

func TestPreflight(t *testing.T) {
	const vary = "Origin, Access-Control-Request-Headers"
	refused := http.Header{"Vary": {vary}}
	tests := []struct {
		name   string
		policy *Policy
		origin string
		asked  []string
		want   http.Header
	}{{
		"listed", policy(t, "https://app.example.com"), "https://app.example.com", []string{"content-type,x-token"},
		http.Header{
			"Access-Control-Allow-Origin":      {"https://app.example.com"},
			"Access-Control-Allow-Credentials": {"true"},
			"Access-Control-Allow-Methods":     {"GET, POST"},
			"Access-Control-Allow-Headers":     {"content-type,x-token"},
			"Access-Control-Max-Age":           {"600"},
			"Vary":                             {vary},
		},
	}, {
		"no headers asked for", policy(t, "https://app.example.com"), "https://app.example.com", nil,
		http.Header{
			"Access-Control-Allow-Origin":      {"https://app.example.com"},
			"Access-Control-Allow-Credentials": {"true"},
			"Access-Control-Allow-Methods":     {"GET, POST"},
			"Access-Control-Max-Age":           {"600"},
			"Vary":                             {vary},
		},
	}, {
		"anyone, headers on two lines", policy(t, "*"), "https://evil.test", []string{"x-a", "x-b"},
		http.Header{
			"Access-Control-Allow-Origin":  {"*"},
			"Access-Control-Allow-Methods": {"GET, POST"},
			"Access-Control-Allow-Headers": {"x-a, x-b"},
			"Access-Control-Max-Age":       {"600"},
			"Vary":                         {vary},
		},
	}, {
		"foreign", policy(t, "https://app.example.com"), "https://evil.test", []string{"content-type"}, refused,
	}, {
		"foreign, nil policy", nil, "https://evil.test", []string{"content-type"}, refused,
	}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := request(test.origin)
			r.Method = http.MethodOptions
			r.Header.Set("Access-Control-Request-Method", "POST")
			if test.asked != nil {
				r.Header["Access-Control-Request-Headers"] = test.asked
			}
			w := httptest.NewRecorder()
			test.policy.Preflight(w, r)
			if w.Code != http.StatusNoContent || w.Body.Len() != 0 || !equal(w.Header(), test.want) {
				t.Errorf("got %d %v %q\nwant 204 %v", w.Code, w.Header(), w.Body, test.want)
			}

			// After SetHeaders, the same answer: only Vary is spread over two lines.
			w = httptest.NewRecorder()
			test.policy.SetHeaders(w.Header(), r)
			test.policy.Preflight(w, r)
			if got := w.Header()["Vary"]; !slices.Equal(got, []string{"Origin", "Access-Control-Request-Headers"}) {
				t.Errorf("after SetHeaders: Vary is %q", got)
			}
		})
	}
}
