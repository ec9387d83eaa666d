package test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
)

// TestServedClient loads the client from the server in a real browser: each of its
// bundles, and the module from another site.
func TestServedClient(t *testing.T) {
	t.Parallel()
	harness.NeedNode(t)
	dist, err := filepath.Abs("node_modules/socket.io-client/dist")
	if err != nil {
		t.Fatal(err)
	}
	friend := harness.FreePort(t)
	page := func(scripts string) string {
		return fmt.Sprintf("header Content-Type text/html\n respond `<!doctype html><title>A page</title><link rel=icon href=data:,>%s`\n", scripts)
	}
	script := func(name string) string { return page("<script src=/socket.io/" + name + "></script>") }
	s := harness.NewServer(t, harness.WithGuests)
	module := fmt.Sprintf("<script type=module>import { io } from \"%s/socket.io/socket.io.esm.min.js\"; window.io = io</script>", s.URL())
	s.WriteConfig("Caddyfile", harness.Config{
		Site: fmt.Sprintf("encode\n realtime {\n serve_client %s \n origins http://localhost:%d \n authenticator token \n handler echo \n}\n", dist, friend) +
			"handle /plain {\n" + script("socket.io.js") + "}\n" +
			"handle /min {\n" + script("socket.io.min.js") + "}\n" +
			"handle /msgpack {\n" + script("socket.io.msgpack.min.js") + "}\n" +
			"handle /module {\n" + page(module) + "}\n",
		More: fmt.Sprintf("http://localhost:%d {\n bind 127.0.0.1 \n %s}\n", friend, page(module)),
	})
	s.Run()
	n := s.StartNode(t, "bundle.mjs", "FRIEND", fmt.Sprintf("http://localhost:%d/", friend))
	n.Expect("finished", nil)
	n.Finish()
	s.LogSince(t, 0)
	for name, status := range map[string]int{
		"socket.io.min.js": http.StatusOK, "socket.io.min.js.map": http.StatusOK, "package.json": http.StatusBadRequest, "..%2fpackage.json": http.StatusBadRequest,
	} {
		if a := s.Request(t, "GET", "/socket.io/"+name, ""); a.Status != status {
			t.Errorf("%s is answered %d %.60s", name, a.Status, a.Body)
		}
	}
}
