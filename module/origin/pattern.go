package origin

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A pattern is one origin, or the set of origins that a wildcard or a range
// stands for.
type pattern struct {
	origin                  // with subdomains, the host they are below
	subdomains bool         // "*." before the host
	addrs      netip.Prefix // a range of IP addresses, where valid
	anyPort    bool         // ":*"
}

// single reports whether the pattern is one origin and nothing else.
func (p pattern) single() bool {
	return !p.subdomains && !p.anyPort && !p.addrs.IsValid()
}

func (p pattern) matches(o origin) bool {
	if o.scheme != p.scheme || o.port != p.port && !p.anyPort {
		return false
	}
	switch {
	case p.addrs.IsValid():
		return p.addrs.Contains(o.addr) // false for a name, whose addr is zero
	case p.subdomains:
		// The dot excludes evilexample.com, and something before the dot excludes
		// example.com itself.
		below, ok := strings.CutSuffix(o.host, p.host)
		return ok && len(below) > 1 && below[len(below)-1] == '.'
	default:
		return o.host == p.host && o.addr == p.addr
	}
}

// String returns the pattern in normal form; compiling it gives p again.
func (p pattern) String() string {
	s := p.authority("")
	if p.subdomains {
		s = p.authority("*.")
	}
	if p.addrs.IsValid() {
		s += "/" + strconv.Itoa(p.addrs.Bits())
	}
	if p.anyPort {
		return s + ":*"
	}
	return s + p.portSuffix()
}

// compile reads a pattern other than "*" and "null". An error is a flaw, for
// which advise may find a remedy, or a mistake, which says its own.
func compile(s string) (pattern, error) {
	if s == "" {
		return pattern{}, mistake("an origin cannot be empty; write it as in https://app.example.com")
	}
	if before, _, ok := strings.Cut(s, "://"); ok && strings.Contains(before, "*") {
		return pattern{}, mistake("the scheme cannot be a wildcard; write an http:// and an https:// origin")
	}
	scheme, rest, err := cutScheme(s)
	switch {
	case errors.Is(err, flawList):
		return pattern{}, mistake("white space or a comma makes it a list; write each origin as a word of its own")
	case err != nil:
		return pattern{}, err
	case scheme == "ws", scheme == "wss":
		return pattern{}, flawSocket
	}
	host, tail, err := cutHost(rest)
	if err != nil {
		return pattern{}, err
	}
	p := pattern{origin: origin{scheme: scheme, port: defaultPort(scheme)}}
	if err := p.compileHost(host); err != nil {
		return pattern{}, err
	}
	if strings.HasPrefix(tail, "/") {
		if tail, err = p.compileRange(tail); err != nil {
			return pattern{}, err
		}
	}
	if tail != "" {
		if err := p.compilePort(tail[1:]); err != nil {
			return pattern{}, err
		}
	}
	if !p.web() && !p.single() {
		return pattern{}, mistake(fmt.Sprintf("wildcards and ranges need http or https; write each %s:// origin in full", scheme))
	}
	return p, nil
}

func (p *pattern) compileHost(host string) (err error) {
	if host == "*" {
		return mistake("a scheme's every host is too many to trust; write https://*.example.com, or * alone for every origin")
	}
	host, p.subdomains = strings.CutPrefix(host, "*.")
	if strings.Contains(host, "*") {
		return mistakeWildcard
	}
	if strings.HasPrefix(host, "[") && strings.Contains(host, "/") {
		return mistake("the length of a range comes after the bracket; write it as in http://[fd00::]/8")
	}
	if err = p.setHost(host); err != nil {
		return err
	}
	if p.subdomains && p.addr.IsValid() {
		return mistake("an IP address has no subdomains; write a range, as in http://172.16.0.0/12")
	}
	return nil
}

// compileRange reads the "/12" after an address, and returns what follows it.
func (p *pattern) compileRange(s string) (tail string, err error) {
	length := s[1:]
	if i := strings.IndexByte(length, ':'); i >= 0 {
		length, tail = length[:i], length[i:]
	}
	if !p.addr.IsValid() || length == "" || !isDigit(length[0]) {
		return "", flawPath
	}
	bits, err := strconv.Atoi(length)
	// /0 is every address there is: "https://*" in other words.
	if err != nil || length[0] == '0' || bits > p.addr.BitLen() {
		return "", mistake(fmt.Sprintf("a range of such addresses has a length from /1 to /%d; write it as in %s/%d",
			p.addr.BitLen(), p.authority(""), p.addr.BitLen()))
	}
	p.addrs = netip.PrefixFrom(p.addr, bits)
	if first := p.addrs.Masked().Addr(); first != p.addr {
		meant := *p
		meant.addr = first
		return "", mistake(fmt.Sprintf("the address has bits beyond /%d; write %s/%d%s", bits, meant.authority(""), bits, tail))
	}
	return tail, nil
}

func (p *pattern) compilePort(s string) (err error) {
	switch {
	case s == "*":
		p.anyPort, p.port = true, 0
		return nil
	case strings.Contains(s, "/"):
		if p.addr.IsValid() && !p.addrs.IsValid() && !strings.HasSuffix(s, "/") {
			return mistake("a range comes before the port, and a path is no part of an origin; write it as in http://172.16.0.0/12:*")
		}
		return flawPath
	case strings.Contains(s, "*"):
		return mistakeWildcard
	case strings.Contains(s, ":"):
		return mistake("an IPv6 address stands in brackets; write it as in http://[fd00::1]:8080")
	case strings.Contains(s, "-"):
		return mistake("ports cannot be a range; write one port, or :* for any")
	}
	p.port, err = parsePort(s)
	return err
}

// advise completes the error of a pattern that did not compile with one that
// would.
func advise(s string, err error) error {
	f, ok := errors.AsType[flaw](err)
	if !ok {
		return err
	}
	if better := repair(s); better != "" {
		return fmt.Errorf("%w; write %s", f, better)
	}
	return fmt.Errorf("%w; write scheme://host or scheme://host:port, as in https://app.example.com", f)
}

// repair guesses which pattern was meant by s. It returns "" if the guess would not
// compile either.
func repair(s string) string {
	scheme, rest, found := strings.Cut(strings.ToLower(s), "://")
	switch {
	case found && scheme == "file", s != "null" && strings.EqualFold(s, "null"):
		return "null"
	case scheme == "ws":
		scheme = "http"
	case scheme == "wss":
		scheme = "https"
	case !found && strings.ContainsAny(s, ".:/"), !found && strings.EqualFold(s, "localhost"):
		scheme, rest = assume(scheme)
	}
	rest = rest[strings.LastIndexByte(rest, '@')+1:]
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	// The slash of a range is one to keep, so what comes after it goes last.
	for _, rest := range []string{strings.TrimRight(rest, "/"), strings.TrimRight(rest[:end], ".:")} {
		if p, err := compile(scheme + "://" + rest); err == nil {
			return p.String()
		}
	}
	return ""
}

// assume returns the scheme that s lacks, which is https, or http for this machine, and
// the rest of s.
func assume(s string) (scheme, rest string) {
	for _, scheme := range []string{"http", "https"} {
		if rest, ok := strings.CutPrefix(s, scheme+":"); ok {
			return scheme, strings.TrimLeft(rest, "/")
		}
	}
	rest = strings.TrimLeft(s, "/")
	if strings.HasPrefix(rest, "localhost") || strings.HasPrefix(rest, "127.") || strings.HasPrefix(rest, "[::1]") {
		return "http", rest
	}
	return "https", rest
}
