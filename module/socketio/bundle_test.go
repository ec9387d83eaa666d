package socketio

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// folder returns a folder with files of these names. Each file contains its name.
func folder(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("// "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestBundle(t *testing.T) {
	b, err := ReadBundle(folder(t, "socket.io.min.js", "socket.io.min.js.map", "socket.io.secret.js", "package.json"))
	if err != nil {
		t.Fatal(err)
	}
	serve := func(method, name string, headers ...string) *http.Response {
		r := httptest.NewRequest(method, "/socket.io/"+name, nil)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Add(headers[i], headers[i+1])
		}
		w := httptest.NewRecorder()
		b.Serve(w, r, name)
		return w.Result()
	}
	body := func(r io.Reader) string {
		text, err := io.ReadAll(r)
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}

	script := serve("GET", "socket.io.min.js")
	etag := script.Header.Get("ETag")
	if got := body(script.Body); script.StatusCode != http.StatusOK || got != "// socket.io.min.js" || etag == "" ||
		script.Header.Get("Cache-Control") != "public, max-age=0" ||
		script.Header.Get("Content-Type") != "application/javascript; charset=utf-8" ||
		script.Header.Get("Vary") != "Accept-Encoding" || script.Header.Get("Content-Encoding") != "" {
		t.Errorf("the script is %d %q %v", script.StatusCode, got, script.Header)
	}
	if a := serve("GET", "socket.io.min.js.map"); a.Header.Get("Content-Type") != "application/json; charset=utf-8" || a.Header.Get("ETag") == etag {
		t.Errorf("the map is %v", a.Header)
	}
	if a := serve("HEAD", "socket.io.min.js"); a.StatusCode != http.StatusOK || body(a.Body) != "" || a.Header.Get("Content-Length") != "19" {
		t.Errorf("HEAD is answered %d %v", a.StatusCode, a.Header)
	}
	for _, known := range []string{etag, strings.TrimPrefix(etag, "W/"), `"x", ` + etag, "*"} {
		a := serve("GET", "socket.io.min.js", "If-None-Match", known, "Accept-Encoding", "gzip")
		if a.StatusCode != http.StatusNotModified || body(a.Body) != "" || a.Header.Get("ETag") != etag {
			t.Errorf("who knows %s is answered %d %v", known, a.StatusCode, a.Header)
		}
	}
	if a := serve("GET", "socket.io.min.js", "If-None-Match", `"4.8.4"`); a.StatusCode != http.StatusOK {
		t.Errorf("who knows another version is answered %d", a.StatusCode)
	}

	for accept, compressed := range map[string]bool{
		"gzip": true, "br, GZIP ;q=0.5": true, "gzip;q=1.0, identity": true,
		"": false, "br": false, "gzip;q=0": false, "gzip;q=0.000": false, "gzip;q=x": false, "x-gzip": false,
	} {
		a := serve("GET", "socket.io.min.js", "Accept-Encoding", accept)
		if got := a.Header.Get("Content-Encoding") == "gzip"; got != compressed {
			t.Errorf("%q gets compressed: %t", accept, got)
			continue
		}
		if !compressed {
			continue
		}
		content, err := gzip.NewReader(a.Body)
		if err != nil || body(content) != "// socket.io.min.js" || a.Header.Get("ETag") != etag {
			t.Errorf("%q gets something else: %v", accept, err)
		}
	}

	for _, method := range []string{"POST", "PUT", "OPTIONS"} {
		if a := serve(method, "socket.io.min.js"); a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s is answered %d %v", method, a.StatusCode, a.Header)
		}
	}
	for _, name := range []string{"socket.io.js", "socket.io.secret.js", "package.json", "", "../socket.io.min.js"} {
		if a := serve("GET", name); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s is answered %d", name, a.StatusCode)
		}
	}
}

func TestBundleFiles(t *testing.T) {
	for name, is := range map[string]bool{
		"socket.io.js": true, "socket.io.js.map": true, "socket.io.min.js": true, "socket.io.esm.min.js.map": true, "socket.io.msgpack.min.js": true,
		"": false, "socket.io": false, "socket.io.min.js.gz": false, "x/socket.io.js": false, "Socket.io.js": false, "socket.io.js/": false,
	} {
		if IsBundleFile(name) != is {
			t.Errorf("%q is part of it: %t", name, !is)
		}
	}
}

func TestNoBundle(t *testing.T) {
	outside := filepath.Join(folder(t, "socket.io.js"), "socket.io.js")
	linked, directory := folder(t, "socket.io.js.map"), folder(t, "socket.io.js.map")
	if err := os.Symlink(outside, filepath.Join(linked, "socket.io.js")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(directory, "socket.io.js"), 0o700); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		filepath.Join(t.TempDir(), "missing"): "opening the folder of the client",
		outside:                               "opening the folder of the client",
		folder(t, "package.json"):             "has no file of the client, such as socket.io.min.js",
		linked:                                "reading socket.io.js in",
		directory:                             "it is not a regular file",
	} {
		if _, err := ReadBundle(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is %v; want %q", dir, err, want)
		}
	}
	// A link inside the folder is followed.
	inside := folder(t, "real.js")
	if err := os.Symlink("real.js", filepath.Join(inside, "socket.io.js")); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadBundle(inside); err != nil {
		t.Error(err)
	}
}
