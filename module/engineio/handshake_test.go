package engineio

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// single is what a query says by net/url: "" if the parameter is missing or repeated.
func single(query url.Values, name string) string {
	if len(query[name]) == 1 {
		return query.Get(name)
	}
	return ""
}

// FuzzParameters: the parameters are those that net/url would find.
func FuzzParameters(f *testing.F) {
	for _, query := range []string{
		"", "&", "=", "EIO=4&transport=websocket", "EIO=4&transport=polling&t=abc&sid=x", "EIO=3&b64=1&sid=",
		"sid=a&sid=b", "sid=&sid=b", "EIO=4&EIO=4", "transport=polling&transport=websocket", "b64=&b64=1",
		"%73id=x", "s+id=x", "sid=%41%42", "sid=%zz&sid=a", "%zz=1&EIO=4", "sid=a;b&EIO=4", "sid", "sid=a=b", "sid=a+b",
	} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		got := parseParameters(&http.Request{URL: &url.URL{RawQuery: query}})
		all := (&url.URL{RawQuery: query}).Query()
		want := parameters{
			transport: single(all, "transport"),
			sid:       single(all, "sid"),
			hasSID:    strings.Join(all["sid"], "") != "",
			base64:    all.Get("b64") != "",
		}
		if len(all["EIO"]) <= 1 {
			want.codec = codecOf(all.Get("EIO"))
		}
		if got != want {
			t.Errorf("%q: %+v, want %+v", query, got, want)
		}
	})
}

func BenchmarkParameters(b *testing.B) {
	r := &http.Request{URL: &url.URL{RawQuery: "EIO=4&transport=polling&t=P0zW1Xa&sid=lv_VI97HAXpY6yYWAAAC"}}
	b.ReportAllocs()
	for b.Loop() {
		parseParameters(r)
	}
}
