// Package publish is the HTTP API by which a backend reaches sockets: it emits
// events, moves sockets between rooms, and asks who is there. openapi.yaml
// describes it.
//
//   - handler.go: from requests to calls
//   - key.go, request.go, problem.go: who may call, how bodies are read, and errors
//   - emit.go, sockets.go, batch.go: calls that change something
//   - listing.go, rooms.go, stats.go: calls that only read
//   - where.go: which sockets a call is about
//   - answers.go: answers to requests that may be repeated
package publish

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/defaults"
	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
	"github.com/caddy-realtime/caddy-realtime/module/internal/refusal"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// MaxBody is the size of the largest body of a request, in bytes.
const MaxBody = 4 << 20

// Options are the settings of a Handler.
type Options struct {
	// Path is the beginning of the paths of all calls, such as "/api/realtime". A slash
	// at its end is ignored. Default: "".
	Path string
	// Keys let their owners call. With the zero value nobody can.
	Keys Keys
	// Answers are the answers to requests with an Idempotency-Key. A handler that replaces
	// another one has the same. Default: none.
	Answers *Answers
	// ClientIP returns the address of a request's client, for the log. Default: the
	// peer's.
	ClientIP func(*http.Request) string
	// Logger gets a line for each request without a key, and for each call that
	// disconnects sockets. Default: none.
	Logger *zap.Logger
}

// A Handler is the API of one endpoint. It reaches the sockets of the endpoint's hub on all
// nodes, in the namespaces that the endpoint serves.
type Handler struct {
	endpoint *realtime.Endpoint
	options  Options
	base     []string // the segments of the path
}

// NewHandler returns the API of an endpoint.
func NewHandler(endpoint *realtime.Endpoint, o Options) *Handler {
	if o.Answers == nil {
		o.Answers = new(Answers)
	}
	if o.ClientIP == nil {
		o.ClientIP = defaults.ClientIP
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	return &Handler{endpoint: endpoint, options: o, base: strings.Split(strings.TrimRight(o.Path, "/"), "/")}
}

// nodes returns the nodes that a request is about.
func (h *Handler) nodes(r *request) realtime.Nodes {
	if r.local {
		return h.endpoint.Hub().Nodes().Local()
	}
	return h.endpoint.Hub().Nodes()
}

// A call is one call of the API.
type call struct {
	method     string
	parameters []string // of the query, besides "local"
	serve      func(h *Handler, ctx context.Context, r *request) (status int, answer any, problem *Problem)
}

// A request is the input of a call.
type request struct {
	body  []byte // of a POST: UTF-8
	room  string // of the path
	query map[string]string
	local bool // it is about the node that answers, and no other
}

// calls are all calls, by their paths. The segment "{room}" stands for any.
var calls = map[string]call{
	"emit":                  {http.MethodPost, []string{"ack"}, (*Handler).emit},
	"batch":                 {http.MethodPost, nil, (*Handler).batch},
	"sockets/join":          {http.MethodPost, nil, command("join")},
	"sockets/leave":         {http.MethodPost, nil, command("leave")},
	"sockets/disconnect":    {http.MethodPost, nil, command("disconnect")},
	"sockets/data":          {http.MethodPost, nil, command("data")},
	"sockets":               {http.MethodGet, []string{"room", "user", "namespace", "cursor"}, (*Handler).sockets},
	"rooms":                 {http.MethodGet, []string{"namespace", "cursor"}, (*Handler).rooms},
	"rooms/{room}/presence": {http.MethodGet, []string{"namespace"}, (*Handler).presence},
	"stats":                 {http.MethodGet, nil, (*Handler).stats},
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.options.Keys.match(r.Header) {
		refusal.Log(h.options.Logger, r, h.options.ClientIP(r), "no key of the API")
		w.Header().Set("WWW-Authenticate", "Bearer")
		errUnauthorized.write(w)
		return
	}
	c, room, ok := h.find(r.URL)
	switch {
	case !ok:
		problemf(http.StatusNotFound, "not_found", "there is no such call; there are %s", strings.Join(slices.Sorted(maps.Keys(calls)), ", ")).write(w)
		return
	case r.Method != c.method:
		w.Header().Set("Allow", c.method)
		problemf(http.StatusMethodNotAllowed, "method_not_allowed", "this call takes %s", c.method).write(w)
		return
	}
	asked := &request{room: room}
	var problem *Problem
	if problem = asked.readQuery(r.URL, c.parameters); problem == nil && c.method == http.MethodPost {
		asked.body, problem = readBody(w, r)
	}
	if problem != nil {
		problem.write(w)
		return
	}
	status, body := h.answer(r, c, asked)
	write(w, status, body)
}

// find returns the call of a URL. A slash in the name of a room is escaped, and does not
// end a segment.
func (h *Handler) find(u *url.URL) (c call, room string, ok bool) {
	segments := strings.Split(u.EscapedPath(), "/")
	for i, segment := range segments {
		var err error
		if segments[i], err = url.PathUnescape(segment); err != nil {
			return call{}, "", false
		}
	}
	if len(segments) < len(h.base) || !slices.Equal(segments[:len(h.base)], h.base) {
		return call{}, "", false
	}
	segments = segments[len(h.base):]
	if len(segments) == 3 && segments[0] == "rooms" {
		room, segments[1] = segments[1], "{room}"
	}
	if slices.ContainsFunc(segments, func(s string) bool { return strings.Contains(s, "/") }) {
		return call{}, "", false
	}
	c, ok = calls[strings.Join(segments, "/")]
	return c, room, ok
}

// answer serves a call, unless the request has been answered before.
func (h *Handler) answer(r *http.Request, c call, asked *request) (status int, body []byte) {
	ctx := r.Context()
	do := func() (int, []byte) {
		status, answer, problem := c.serve(h, ctx, asked)
		if problem != nil {
			return problem.Status, problem.body()
		}
		return status, encode(answer)
	}
	key := r.Header.Values("Idempotency-Key")
	if len(key) == 0 || c.method != http.MethodPost {
		return do()
	}
	if len(key) > 1 || !validKey(key[0]) {
		problem := problemf(http.StatusBadRequest, "bad_idempotency_key", "an Idempotency-Key has 1 to %d printable characters of ASCII, and there is one", maxKey)
		return problem.Status, problem.body()
	}
	// A client that hangs up may repeat the request, and then needs the whole answer.
	ctx = context.WithoutCancel(ctx)
	return h.options.Answers.once(key[0], fingerprint(r.URL, asked.body), do)
}

// readQuery reads the parameters of a URL. Other names than these and "local" are an error, and
// so is a name that is there twice.
func (r *request) readQuery(u *url.URL, names []string) *Problem {
	all, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return problemf(http.StatusBadRequest, "bad_parameter", "the query is not encoded as one")
	}
	names = append(slices.Clip(names), "local")
	r.query = make(map[string]string, len(all))
	for name, values := range all {
		switch {
		case !slices.Contains(names, name):
			return problemf(http.StatusBadRequest, "unknown_parameter", "this call has no parameter %s; it has %s", quote(name), strings.Join(names, ", "))
		case len(values) != 1 || values[0] == "":
			return problemf(http.StatusBadRequest, "bad_parameter", "%s takes one value; leave it out for none", name)
		case name == "local" && values[0] != "1":
			return problemf(http.StatusBadRequest, "bad_parameter", "local takes 1; leave it out for all nodes")
		}
		r.query[name] = values[0]
	}
	_, r.local = r.query["local"]
	return nil
}

// readBody returns the body of a POST. It accepts no type of content that a page of
// another site can have a browser send without a preflight.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, *Problem) {
	mediaType, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := parameters["charset"]
	if err != nil || mediaType != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") || r.Header.Get("Content-Encoding") != "" {
		return nil, problemf(http.StatusUnsupportedMediaType, "unsupported_media_type", "the body must be application/json, in UTF-8 and not compressed")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, problemf(http.StatusRequestEntityTooLarge, "too_large", "the body has more than %d bytes", MaxBody)
	}
	if err != nil {
		return nil, problemf(http.StatusBadRequest, "bad_body", "the body could not be read to its end")
	}
	body = bytes.TrimPrefix(body, []byte("\ufeff")) // a byte order mark, as some libraries begin every text
	return body, checkText(body)
}

// encode returns an answer's JSON. The arguments of events stay as they are.
func encode(answer any) []byte {
	var b bytes.Buffer
	if err := rawjson.Encode(&b, answer); err != nil {
		panic(err) // it consists of strings, numbers and valid JSON
	}
	b.WriteByte('\n')
	return b.Bytes()
}

func write(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// Interface guards
var _ http.Handler = (*Handler)(nil)
