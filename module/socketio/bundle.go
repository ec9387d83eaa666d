package socketio

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/contentcoding"
)

// bundleFiles are the files of the client that Socket.IO's own server serves.
var bundleFiles = []string{
	"socket.io.js", "socket.io.js.map",
	"socket.io.min.js", "socket.io.min.js.map",
	"socket.io.esm.min.js", "socket.io.esm.min.js.map",
	"socket.io.msgpack.min.js", "socket.io.msgpack.min.js.map",
}

// IsBundleFile reports whether a file of this name can be part of a Bundle.
func IsBundleFile(name string) bool { return slices.Contains(bundleFiles, name) }

// A Bundle is the client for browsers: the files in the folder dist of socket.io-client. It never
// changes. All methods may be called concurrently.
type Bundle struct {
	files map[string]*bundleFile
}

type bundleFile struct {
	etag    string
	kind    string // its Content-Type
	plain   []byte
	gzipped func() []byte // compresses plain when it is called first
}

// ReadBundle reads the files of the client from a folder. It reads no other files, and does not
// follow links out of the folder. A folder without any file of the client is an error.
func ReadBundle(folder string) (*Bundle, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, fmt.Errorf("opening the folder of the client: %w", err)
	}
	defer func() { _ = root.Close() }()
	b := &Bundle{files: make(map[string]*bundleFile)}
	for _, name := range bundleFiles {
		info, err := root.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && !info.Mode().IsRegular() {
			err = errors.New("it is not a regular file")
		}
		var content []byte
		if err == nil {
			content, err = root.ReadFile(name)
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s in %s: %w", name, folder, err)
		}
		b.files[name] = newBundleFile(name, content)
	}
	if len(b.files) == 0 {
		return nil, fmt.Errorf("the folder %s has no file of the client, such as socket.io.min.js", folder)
	}
	return b, nil
}

func newBundleFile(name string, content []byte) *bundleFile {
	kind := "application/javascript; charset=utf-8"
	if strings.HasSuffix(name, ".map") {
		kind = "application/json; charset=utf-8"
	}
	sum := sha256.Sum256(content)
	return &bundleFile{
		// A weak ETag is the same for the file and its compressed form, whether it is
		// compressed here or by another handler.
		etag:  `W/"` + hex.EncodeToString(sum[:12]) + `"`,
		kind:  kind,
		plain: content,
		gzipped: sync.OnceValue(func() []byte {
			var compressed bytes.Buffer
			w := gzip.NewWriter(&compressed)
			_, _ = w.Write(content) // into memory
			_ = w.Close()
			return compressed.Bytes()
		}),
	}
}

// Serve answers a request for a file, from anybody. It answers 404 if the bundle has no file of
// the name.
func (b *Bundle) Serve(w http.ResponseWriter, r *http.Request, name string) {
	file, ok := b.files[name]
	switch {
	case !ok:
		http.NotFound(w, r)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "the client is served to GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "public, max-age=0")
	h.Set("Content-Type", file.kind)
	h.Set("ETag", file.etag)
	h.Add("Vary", "Accept-Encoding")
	content := file.plain
	if contentcoding.AcceptsGzip(r.Header) {
		h.Set("Content-Encoding", "gzip")
		content = file.gzipped()
	}
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
}
