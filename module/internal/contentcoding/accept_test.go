package contentcoding

import (
	"net/http"
	"testing"
)

// FuzzAcceptsGzip: a client that refuses gzip never gets it, whatever else it
// says, and what it says makes no difference to one that insists.
func FuzzAcceptsGzip(f *testing.F) {
	for _, list := range []string{"", "gzip, deflate, br", "*;q=0.5, identity;q=0", "gzip;q=NaN", ",;=,;q=;"} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		header := http.Header{"Accept-Encoding": {list, "gzip;q=0"}}
		if AcceptsGzip(header) {
			t.Errorf("%q: gzip is refused", header)
		}
		header["Accept-Encoding"][1] = "gzip"
		if !AcceptsGzip(header) {
			t.Errorf("%q: gzip is accepted", header)
		}
		header["Accept-Encoding"] = []string{list}
		if AcceptsGzip(header) && list == "" {
			t.Error("nothing was said")
		}
	})
}
