package caddy

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// TestUnseenMistakes has mistakes that could be taken for valid options.
func TestUnseenMistakes(t *testing.T) {
	inBlock := func(lines string) string { return ":80 {\n\trealtime {\n" + lines + "\n\t}\n}\n" }
	inOption := func(lines string) string { return "{\n\trealtime {\n" + lines + "\n\t}\n}\n:80 {\n\trealtime\n}\n" }
	for input, want := range map[string]string{ // a part of the error
		inBlock("limits {\npayload 1MB\npayload 2MB\n}"): "limits: payload is there already",
		inBlock("limits"):                        "limits takes a block",
		inBlock("limits {\n}"):                   "limits",
		inBlock(`name ""`):                       "name takes one name",
		inBlock(`hub ""`):                        "hub takes one name",
		inBlock("name chat {\n\tcolour red\n}"):  "name takes no block",
		inBlock("health {\n\tverbose\n}"):        "health takes no block",
		inBlock("relay {\n\tevents\n}"):          "events takes one or more globs",
		inOption("broker memory\nbroker memory"): "broker is there already",
		inOption("drain 1s\ndrain 2s"):           "drain is there already",
	} {
		if got := adapt(t, string(caddyfile.Format([]byte(input)))); !strings.Contains(got, want) || !strings.Contains(got, "at Caddyfile:") {
			t.Errorf("%s adapts to\n%.300s\nwant %q", input, got, want)
		}
	}
}

// TestHandleWithoutSite parses a block outside of a site, as Go code may do. A backend's handle
// cannot be parsed there.
func TestHandleWithoutSite(t *testing.T) {
	for backend, want := range map[string]string{ // a part of the error
		"backend {\nunsigned\nhandle {\nrespond ok\n}\n}":       "handle can be parsed only within a site",
		"backend http://localhost:3000/realtime {\nunsigned\n}": "",
	} {
		err := new(Handler).UnmarshalCaddyfile(caddyfile.NewTestDispenser("realtime {\n" + backend + "\n}"))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", backend, err, want)
		}
	}
}
