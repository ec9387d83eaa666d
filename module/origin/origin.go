package origin

import (
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// maxLength is more than the longest name (253 bytes in ASCII), scheme and port together.
// It bounds what an unknown client can have parsed and logged.
const maxLength = 512

// An origin is a scheme, a host and a port in normal form ("tuple origin" in the
// HTML standard), so that == compares as it should. The opaque origin "null" is
// not one of them.
type origin struct {
	scheme string     // lower case
	host   string     // a name in lower case and Punycode; "" where addr is set
	addr   netip.Addr // an IP address, which then is the host
	port   uint16     // 0 for none: a scheme that has no default port
}

// parse reads an Origin header. It is stricter than [net/url], which accepts user names,
// paths and empty ports: an origin is what a browser may send
// (https://html.spec.whatwg.org/#ascii-serialisation-of-an-origin), except that case,
// default ports and Unicode are normalised.
func parse(s string) (origin, error) {
	scheme, rest, err := cutScheme(s)
	if err != nil {
		return origin{}, err
	}
	scheme = ofPage(scheme)
	host, tail, err := cutHost(rest)
	if err != nil {
		return origin{}, err
	}
	o := origin{scheme: scheme, port: defaultPort(scheme)}
	if err = o.setHost(host); err != nil {
		return origin{}, err
	}
	if tail == "" {
		return o, nil
	}
	if strings.Contains(tail, "/") {
		return origin{}, flawPath
	}
	o.port, err = parsePort(tail[1:])
	return o, err
}

// setHost reads the host. Apps have hosts that no web site has: Electron's
// app://. and Qt's qrc://, for example.
func (o *origin) setHost(host string) (err error) {
	o.host, o.addr, err = parseHost(host)
	if err != nil && !o.web() && isAppHost(host) {
		o.host, o.addr, err = strings.ToLower(host), netip.Addr{}, nil
	}
	return err
}

// isAppHost reports whether the host of an app has only unreserved characters (RFC 3986,
// section 2.3). It may be empty.
func isAppHost(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && !isDigit(c) && c != '-' && c != '.' && c != '_' && c != '~' {
			return false
		}
	}
	return true
}

// ofPage returns the scheme of a page that would open a WebSocket of a scheme. Clients
// other than browsers may send the address that they connect to, such as Apple's with
// "Origin: wss://example.com".
func ofPage(scheme string) string {
	switch scheme {
	case "ws":
		return "http"
	case "wss":
		return "https"
	}
	return scheme
}

// isOpaque reports whether an Origin identifies nobody: null, or file://, which Electron
// and some devices send instead.
func isOpaque(sent string) bool { return sent == "null" || strings.EqualFold(sent, "file://") }

// Sent returns the Origin header of a request, "" if there is none. It is cut to a bounded
// length: with a policy of "*" a client may send anything.
func Sent(r *http.Request) string { return cut(r.Header.Get("Origin")) }

// SentAll returns the first three Origin headers of a request, each as Sent returns it,
// for logs.
func SentAll(r *http.Request) []string {
	sent := slices.Clone(r.Header["Origin"])
	sent = sent[:min(len(sent), 3)]
	for i := range sent {
		sent[i] = cut(sent[i])
	}
	return sent
}

func cut(s string) string { return s[:min(len(s), maxLength)] }

// serves reports whether a page of this origin came from the site that r asks.
func (o origin) serves(r *http.Request) bool {
	if !o.web() || r.TLS != nil && o.scheme != "https" {
		return false
	}
	host, tail, err := cutHost(r.Host)
	if err != nil {
		return false
	}
	name, addr, err := parseHost(host)
	if err != nil || name != o.host || addr != o.addr {
		return false
	}
	if tail == "" {
		return o.port == defaultPort(o.scheme)
	}
	port, err := parsePort(tail[1:])
	return err == nil && tail[0] == ':' && port == o.port
}

// web reports whether the origin is that of a web site, and not of an app or a
// browser extension.
func (o origin) web() bool { return defaultPort(o.scheme) != 0 }

// String returns the origin as a browser would send it.
func (o origin) String() string { return o.authority("") + o.portSuffix() }

// authority is all before the port, with prefix put in front of the host.
func (o origin) authority(prefix string) string {
	host := o.host
	if o.addr.Is6() {
		host = "[" + o.addr.String() + "]"
	} else if o.addr.IsValid() {
		host = o.addr.String()
	}
	return o.scheme + "://" + prefix + host
}

func (o origin) portSuffix() string {
	if o.port == defaultPort(o.scheme) {
		return ""
	}
	return ":" + strconv.Itoa(int(o.port))
}

// cutScheme returns the scheme in lower case and what follows "://". It refuses every byte
// that no origin has, so that its callers only look at hosts, ports and slashes.
func cutScheme(s string) (scheme, rest string, err error) {
	if len(s) > maxLength {
		return "", "", flawLong
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == ',':
			return "", "", flawList
		case c < ' ' || c == 0x7f:
			return "", "", flawControl
		case c == '@':
			return "", "", flawUser
		case c == '?':
			return "", "", flawQuery
		case c == '#':
			return "", "", flawFragment
		}
	}
	scheme, rest, found := strings.Cut(s, "://")
	if !found {
		return "", "", flawNoScheme
	}
	if !isScheme(scheme) {
		return "", "", flawScheme
	}
	scheme = strings.ToLower(scheme)
	if scheme == "file" {
		return "", "", flawFile
	}
	return scheme, rest, nil
}

// isScheme follows RFC 3986, section 3.1.
func isScheme(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || !isDigit(c) && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return s != ""
}

// parsePort reads a port as browsers write it, without leading zeros.
func parsePort(s string) (uint16, error) {
	if s == "" {
		return 0, flawNoPort
	}
	if s[0] < '1' || s[0] > '9' {
		return 0, flawPort
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, flawPort
	}
	return uint16(n), nil
}

// defaultPort is 0 for schemes other than those of the web.
func defaultPort(scheme string) uint16 {
	switch scheme {
	case "http":
		return 80
	case "https":
		return 443
	}
	return 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
