package webhook

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A reply is an HTTP response of the backend.
type reply struct {
	status int
	body   []byte
	valid  bool         // the body is JSON, in UTF-8, without white space around it
	header *replyHeader // those of one batch share it
	held   *held        // which has what the answer sends; nil: it leaves at once
}

// A replyHeader is what is used of a reply's header.
type replyHeader struct{ contentType, location, retryAfter, authenticate string }

func newReplyHeader(h http.Header) *replyHeader {
	return &replyHeader{h.Get("Content-Type"), h.Get("Location"), h.Get("Retry-After"), h.Get("WWW-Authenticate")}
}

// release says that everything in the reply has been done. r may be nil.
func (r *reply) release() {
	if r != nil {
		r.held.release()
	}
}

// begin and Write keep an answer that comes.
func (r *reply) begin(status int, header http.Header) io.Writer {
	r.status, r.header = status, newReplyHeader(header)
	return r
}

// Write implements io.Writer. The error is a *wrongAnswer.
func (r *reply) Write(p []byte) (int, error) {
	if len(r.body)+len(p) > maxAnswer {
		return 0, wrong("has more than %d bytes", maxAnswer)
	}
	r.body = append(r.body, p...)
	return len(p), nil
}

func (r *reply) good() bool { return r.status >= 200 && r.status <= 299 }

// later reports whether the same request may get another status some time later.
func (r *reply) later() bool {
	switch r.status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return r.status < 200 || r.status > 499
}

// refuses reports whether the same request would get such a status each time.
func (r *reply) refuses() bool { return !r.good() && !r.later() }

// read returns the answer in a good reply to a request of some type. Any other reply is
// an error. What is odd in the answer is logged once.
func (b *Handler) read(kind string, r *reply, e *realtime.Endpoint) (*answer, error) {
	if !r.good() {
		return nil, r.err()
	}
	a, err := r.parse(kind)
	if err != nil {
		return nil, err
	}
	if err := a.check(e.Limits()); err != nil {
		return nil, err
	}
	b.notices.write(kind, a.oddities)
	return a, nil
}

// parse reads the body of a good reply to a request of some type.
func (r *reply) parse(kind string) (*answer, error) {
	if r.valid && len(r.body) > 0 {
		return parseValid(kind, r.body)
	}
	return parseAnswer(kind, r.body)
}

// err returns the error of a reply that is not good.
func (r *reply) err() error {
	if p := parseProblem(r.body); p.Code != "" || p.Message != "" {
		return fmt.Errorf("backend answered with status %d: %q %q", r.status, p.Code, p.Message)
	}
	return fmt.Errorf("backend answered with status %d", r.status)
}

// connectError returns the error for a client that the backend refuses; nil if the
// backend accepted the client, or was unavailable.
func (r *reply) connectError() error {
	if !r.refuses() {
		return nil
	}
	p := parseProblem(r.body)
	if r.status == http.StatusUnauthorized {
		return p.connectError(r.status)
	}
	return p.connectError(http.StatusForbidden)
}

// eventError returns the error for a client whose event the backend refuses; nil if it
// does not.
func (r *reply) eventError() error {
	if r.status < 300 || r.status > 499 {
		return nil
	}
	if r.status < 400 {
		return wrong("must not be a redirect").eventError()
	}
	p := parseProblem(r.body)
	return p.eventError(codeOf(r.status))
}

// retryAfter returns for how long the backend wants no request, at most a bound; 0 if it
// does not say.
func (r *reply) retryAfter(most time.Duration) time.Duration {
	text := strings.TrimSpace(r.header.retryAfter)
	if text == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, most)
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return min(max(0, time.Until(at)), most)
}

// logCause logs a refusal that probably comes from something in front of the
// application, and what that may be. Clients do not learn it.
func (b *Handler) logCause(r *reply, kind, namespace, event string) {
	cause := r.cause(b.options.URL)
	if cause == "" {
		return
	}
	fields := []zap.Field{zap.String("type", kind), zap.String("namespace", namespace), zap.Int("status", r.status), zap.String("url", b.options.URL),
		zap.String("content_type", r.header.contentType), zap.String("likely_cause", cause)}
	if event != "" {
		fields = append(fields, zap.String("event", event))
	}
	if to := r.redirect(); to != nil {
		fields = append(fields, zap.String("location", to.Redacted()))
	}
	b.options.Logger.Warn("backend answers, but not as an application does "+
		"that knows the protocol", fields...)
}

// redirect returns where the reply points to, without the query, which may be
// secret; nil if nowhere.
func (r *reply) redirect() *url.URL {
	to, err := url.Parse(r.header.location)
	if err != nil || r.header.location == "" {
		return nil
	}
	to.RawQuery, to.Fragment = "", ""
	return to
}

// cause returns what is likely behind a refusal by other means than those of the
// protocol; "" if there is nothing unusual about it.
func (r *reply) cause(asked string) string {
	if r.status < 200 || r.status > 499 {
		return ""
	}
	page := bytes.HasPrefix(bytes.TrimSpace(r.body[:min(len(r.body), 100)]), []byte("<"))
	if r.good() {
		if page {
			return "the page of a login, or of a front end that answers all paths, and not of the route"
		}
		return ""
	}
	if p := parseProblem(r.body); p.Code != "" || p.Message != "" {
		return ""
	}
	media, _, _ := mime.ParseMediaType(r.header.contentType)
	html := page || media == "text/html" || media == "application/xhtml+xml"
	switch {
	case r.status <= 399:
		return r.redirectCause(asked)
	case r.status == http.StatusUnauthorized && r.header.authenticate != "":
		return "something before the route asks for a login, such as basic auth or a framework's guard: let the path through without"
	case r.status == 419, r.status == http.StatusForbidden && html:
		return "a check against cross-site request forgery (CSRF), or a firewall, before the route: exempt the path from it"
	case r.status == http.StatusNotFound:
		return "there is no such route: see whether the path in the backend's URL is right"
	case r.status == http.StatusMethodNotAllowed:
		return "the route does not take POST"
	case r.status == http.StatusRequestEntityTooLarge:
		return "something before the route takes only smaller bodies"
	case r.status == http.StatusUnsupportedMediaType:
		return "the route does not take application/json"
	case html:
		return "the page is of a framework, or of a proxy, and not of the route"
	case r.status == http.StatusUnprocessableEntity || r.status == http.StatusBadRequest:
		return "a framework validates the body by a schema that is not the protocol's, before the route or in it"
	}
	return ""
}

func (r *reply) redirectCause(asked string) string {
	const login = "a redirect to a login page: let the path through without a login"
	from, err := url.Parse(asked)
	to := r.redirect()
	if err != nil || to == nil {
		return login
	}
	to = from.ResolveReference(to)
	if strings.TrimRight(to.Path, "/") != strings.TrimRight(from.Path, "/") {
		return login
	}
	if to.Scheme != from.Scheme {
		return "the backend wants " + to.Scheme + ": write that in the backend's URL, or have it trust X-Forwarded-Proto"
	}
	return "the route has another spelling, such as with or without a slash at its end: write the backend's URL so"
}
