package origin

import (
	"net/http"
	"strings"
)

// SetHeaders adds the headers of CORS to h, the header of the response to r. They let the
// page that sent r read the response: they have the origin exactly as sent, and allow
// credentials. For a policy of "*" they have an asterisk, without credentials. Nothing is
// added if r has no Origin or Check would refuse r, so it may be called before Check.
//
// Vary: Origin is always added, once, since a cache must not answer one origin
// with what was meant for another.
func (p *Policy) SetHeaders(h http.Header, r *http.Request) {
	addVary(h, "Origin")
	p.allow(h, r)
}

// Admit is Check and SetHeaders in one, which takes half as long. It sets no headers if r must not
// be served.
func (p *Policy) Admit(h http.Header, r *http.Request) error {
	if err := p.Check(r); err != nil {
		return err
	}
	addVary(h, "Origin")
	p.grant(h, r)
	return nil
}

// Preflight answers the OPTIONS request that a browser sends ahead of one that a
// form could not have made. Every header asked for is granted: the policy is
// about who asks. The answer is 204 without a body in any case; to an origin that
// Check refuses it grants nothing, though 403 is the better answer to that.
func (p *Policy) Preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	addVary(h, "Origin", "Access-Control-Request-Headers")
	if p.allow(h, r) {
		h.Set("Access-Control-Allow-Methods", "GET, POST")
		if asked := r.Header["Access-Control-Request-Headers"]; len(asked) > 0 {
			h.Set("Access-Control-Allow-Headers", strings.Join(asked, ", "))
		}
		// Ten minutes spare most preflights, and no more is left of a policy that
		// a reload has replaced.
		h.Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
}

// allow sets the headers that grant access, if r has an Origin and it is let in.
func (p *Policy) allow(h http.Header, r *http.Request) bool {
	if len(r.Header["Origin"]) == 0 || p.Check(r) != nil {
		return false
	}
	p.grant(h, r)
	return true
}

// grant sets the headers that grant access, if r has an Origin. It must have been let in.
func (p *Policy) grant(h http.Header, r *http.Request) {
	sent := r.Header["Origin"]
	switch {
	case len(sent) == 0:
	case p != nil && p.any:
		// Browsers refuse "*" together with credentials. With the origin instead of "*",
		// every site on the web could use the user's session.
		h.Set("Access-Control-Allow-Origin", "*")
	default:
		h.Set("Access-Control-Allow-Origin", sent[0])
		h.Set("Access-Control-Allow-Credentials", "true")
	}
}

// addVary adds one Vary line with those names that no line has yet.
func addVary(h http.Header, names ...string) {
	var missing []string
	for _, name := range names {
		if !varies(h, name) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		h.Add("Vary", strings.Join(missing, ", "))
	}
}

func varies(h http.Header, name string) bool {
	for _, line := range h["Vary"] {
		for field := range strings.SplitSeq(line, ",") {
			if field = strings.TrimSpace(field); field == "*" || strings.EqualFold(field, name) {
				return true
			}
		}
	}
	return false
}
