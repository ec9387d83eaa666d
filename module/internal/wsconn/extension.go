package wsconn

import (
	"net/http"
	"strconv"
	"strings"
)

// An offer is what a client says of permessage-deflate, as far as the answer depends on
// it.
type offer struct {
	window bool // it names the size of our window, and so must the answer
}

// acceptOffer returns the first offer of permessage-deflate that can be accepted, and false
// if there is none. An offer is not accepted if a parameter is unknown, malformed or
// repeated, or if it wants a smaller window than ours (RFC 7692, section 7.1). Other
// extensions are ignored.
func acceptOffer(header http.Header) (offer, bool) {
	for _, list := range header["Sec-Websocket-Extensions"] {
		for more := true; more; {
			var extension string
			extension, list, more = cutUnquoted(list, ',')
			name, parameters, given := cutUnquoted(extension, ';')
			if strings.Trim(name, " \t") != "permessage-deflate" {
				continue
			}
			if o, ok := parseOffer(parameters, given); ok {
				return o, true
			}
		}
	}
	return offer{}, false
}

// windowBits is the size of our window as parameters give it: the base-2 logarithm of
// 32 KiB, which is the largest.
const windowBits = 15

// parseOffer reads the parameters of permessage-deflate. A client's own window and context
// make no difference here.
func parseOffer(parameters string, more bool) (o offer, ok bool) {
	seen := make(map[string]bool, 4)
	for more {
		var parameter string
		parameter, parameters, more = cutUnquoted(parameters, ';')
		name, value, valued := strings.Cut(parameter, "=")
		name = strings.Trim(name, " \t")
		if seen[name] {
			return offer{}, false
		}
		bits := 0
		if valued {
			if bits, ok = parseWindowBits(strings.Trim(value, " \t")); !ok {
				return offer{}, false
			}
		}
		switch {
		case name == "server_no_context_takeover" && !valued:
		case name == "client_no_context_takeover" && !valued:
		case name == "client_max_window_bits":
		case name == "server_max_window_bits" && bits == windowBits:
			o.window = true
		default:
			return offer{}, false
		}
		seen[name] = true
	}
	return o, true
}

// parseWindowBits reads a number from 8 to 15, which may be quoted.
func parseWindowBits(value string) (bits int, ok bool) {
	if inner, quoted := strings.CutPrefix(value, `"`); quoted {
		if value, ok = strings.CutSuffix(inner, `"`); !ok {
			return 0, false
		}
	}
	bits, err := strconv.Atoi(value)
	return bits, err == nil && bits >= 8 && bits <= windowBits && strconv.Itoa(bits) == value
}

// cutUnquoted is strings.Cut at the first separator that is not in a quoted string.
func cutUnquoted(list string, separator byte) (element, rest string, found bool) {
	quoted := false
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == separator && !quoted:
			return list[:i], list[i+1:], true
		}
	}
	return list, "", false
}
