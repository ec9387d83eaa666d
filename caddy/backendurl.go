package caddy

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/caddy-realtime/caddy-realtime/module/webhook"
)

// target returns the URL that requests are posted to.
func (b *Backend) target() (*url.URL, error) {
	if b.URL == "" {
		return &url.URL{Scheme: "http", Host: "backend", Path: cmp.Or(b.Path, defaultBackendPath)}, nil
	}
	text, err := expand("backend: the URL "+b.URL, b.URL)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(text)
	switch {
	case err == nil && u.User != nil: // first, since the other errors contain the URL
		return nil, errors.New("backend: the URL has a user and a password; " +
			"use a secret instead, or handle with header_up")
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, fmt.Errorf("backend: %q is no URL; write one such as "+
			"http://localhost:3000/realtime", b.URL)
	case strings.Trim(u.Path, "/") == "":
		return nil, fmt.Errorf("backend: the URL %q has no path, "+
			"which must be one that clients have no need of; write one such as %s/realtime",
			b.URL, strings.TrimRight(b.URL, "/"))
	case u.RawQuery != "" || u.ForceQuery:
		return nil, fmt.Errorf("backend: the URL %q has a query; "+
			"leave it out, and take another path instead, which tells requests to it from others",
			b.URL)
	case strings.ContainsAny(u.Path, "*"):
		return nil, fmt.Errorf("backend: the path of the URL %q is no pattern; "+
			"everything below it is closed anyway; leave * out", b.URL)
	case u.Fragment != "":
		return nil, fmt.Errorf("backend: the URL %q has a fragment, which is never sent; leave it out", b.URL)
	}
	return u, nil
}

// maxBatch is the highest value of Backend.Batch.
const maxBatch = 1000

// maxBuffered is how many bytes of a request's body are buffered. The rest is written separately,
// after the header.
const maxBuffered = 1 << 20

// batchBuffer is how many bytes a connection buffers where batches are sent: most leave in one
// write then. For the further writes of what does not fit, net/http allocates 32 KiB each time.
const batchBuffer = 32 << 10

// proxy returns the handler that a URL is short for.
func (b *Backend) proxy(target *url.URL) json.RawMessage {
	type object = map[string]any
	port := "80"
	transport := object{"protocol": "http", "keep_alive": object{
		"max_idle_conns_per_host": cmp.Or(b.Concurrency, webhook.DefaultConcurrency),
		"idle_timeout":            "2m",
	}}
	if b.Batch != 0 {
		transport["write_buffer_size"] = batchBuffer
	}
	// A buffered body leaves in one write with the header. It costs no more memory: the body is
	// there anyway.
	proxy := object{"handler": "reverse_proxy", "transport": transport, "request_buffers": maxBuffered}
	if target.Scheme == "https" {
		port = "443"
		transport["tls"] = object{}
		proxy["headers"] = object{"request": object{"set": object{"Host": []string{target.Host}}}}
	}
	proxy["upstreams"] = []object{{"dial": net.JoinHostPort(target.Hostname(), cmp.Or(target.Port(), port))}}
	raw, err := json.Marshal(proxy)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return raw
}

// routed returns a path as routers may see it. It removes what Java frameworks take for parameters,
// as in /a/..;b=c/realtime. It replaces backslashes by slashes, and removes blanks at the end.
func routed(requested string) string {
	segments := strings.Split(strings.ReplaceAll(requested, `\`, "/"), "/")
	for i, segment := range segments {
		segments[i], _, _ = strings.Cut(segment, ";")
	}
	return path.Clean(strings.TrimRightFunc(strings.Join(segments, "/"), func(r rune) bool { return r <= ' ' }))
}

// owns reports whether a path is the backend's or below it. Any spelling counts that some router
// accepts for such a path.
func (b *Backend) owns(method, requested string) bool {
	requested = strings.ToLower(routed(requested))
	own := strings.ToLower(b.path)
	owned := func(requested string) bool { return requested == own || strings.HasPrefix(requested, own+"/") }
	if owned(requested) {
		return true
	}
	// PHP routes /index.php/realtime to /realtime, and /app.php/anything to /app.php.
	if at := strings.Index(requested, ".php/"); at >= 0 && (owned(requested[:at+4]) || owned(requested[at+4:])) {
		return true
	}
	// Rails routes /realtime.json to /realtime. GET is exempt: a page may load a /realtime.js.
	return method != http.MethodGet && method != http.MethodHead && owned(strings.TrimSuffix(requested, path.Ext(requested)))
}
