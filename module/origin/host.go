package origin

import (
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// cutHost splits what follows a scheme into the host, an IPv6 address with its
// brackets, and a tail that is empty or begins with ":" or "/".
func cutHost(s string) (host, tail string, err error) {
	end := strings.IndexAny(s, ":/")
	if strings.HasPrefix(s, "[") {
		end = strings.IndexByte(s, ']') + 1
		if end == 0 || end < len(s) && s[end] != ':' && s[end] != '/' {
			return "", "", flawAddress
		}
	}
	if end < 0 {
		return s, "", nil
	}
	return s[:end], s[end:], nil
}

// parseHost returns a name in lower case and Punycode, or an address. What a
// browser would take for an IPv4 address is one or is refused: "127.1" must not
// pass for a name.
func parseHost(s string) (name string, addr netip.Addr, err error) {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, closed := strings.CutSuffix(inner, "]")
		addr, err = netip.ParseAddr(inner)
		if err != nil || !closed || !addr.Is6() || addr.Zone() != "" {
			return "", netip.Addr{}, flawAddress
		}
		return "", addr, nil
	}
	if name, err = toASCII(s); err != nil {
		return "", netip.Addr{}, err
	}
	if err = checkName(name); err != nil {
		return "", netip.Addr{}, err
	}
	if !endsInNumber(name) {
		return name, netip.Addr{}, nil
	}
	if addr, err = netip.ParseAddr(name); err != nil {
		return "", netip.Addr{}, flawAddress
	}
	return "", addr, nil
}

// toASCII lower-cases a name and turns Unicode into Punycode. Upper case is the
// only thing it maps. Full-width letters, ideographic full stops, soft hyphens
// and the Kelvin sign, which a browser would map to ASCII long before it sends
// an Origin, are refused instead.
func toASCII(s string) (string, error) {
	ascii := true
	for i := range len(s) {
		ascii = ascii && s[i] < utf8.RuneSelf
	}
	if ascii {
		return strings.ToLower(s), nil // does not allocate when there is nothing to do
	}
	// What is not UTF-8 comes out of Map as U+FFFD, which no name may have.
	name, err := idna.Registration.ToASCII(strings.Map(lower, s))
	if err != nil {
		return "", flawHost
	}
	return name, nil
}

// lower is unicode.ToLower but for the few characters whose lower case is ASCII.
func lower(r rune) rune {
	small := unicode.ToLower(r)
	if r >= utf8.RuneSelf && small < utf8.RuneSelf {
		return r
	}
	return small
}

// checkName wants dot-separated labels of a-z, 0-9, "-" and "_", within the
// lengths of RFC 1035, section 2.3.4. A name with a trailing dot is another
// origin than the one without; browsers keep the two apart, and so few mean the
// first that it is refused.
func checkName(name string) error {
	if name == "" {
		return flawNoHost
	}
	if len(name) > 253 {
		return flawHost
	}
	label := 0
	for i := range len(name) {
		switch c := name[i]; {
		case c == '.':
			if label == 0 {
				return flawHost
			}
			label = 0
		case 'a' <= c && c <= 'z', isDigit(c), c == '-', c == '_':
			if label++; label > 63 {
				return flawHost
			}
		default:
			return flawHost
		}
	}
	if label == 0 {
		return flawDot
	}
	return nil
}

// endsInNumber is the URL standard's test for what a browser reads as an IPv4
// address (https://url.spec.whatwg.org/#ends-in-a-number-checker), for a name
// that passed checkName.
func endsInNumber(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	digits := "0123456789"
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		last, digits = hex, "0123456789abcdef"
	}
	return strings.Trim(last, digits) == ""
}
