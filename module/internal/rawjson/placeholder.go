package rawjson

import (
	"encoding/json"
	"strconv"
)

// Socket.IO's placeholder of an attachment, {"_placeholder":true,"num":0} (socket.io-protocol v5, "Packet encoding").
var placeholder = pattern{
	key:     "_placeholder",
	first:   't',
	operand: "num",
}

// Placeholders replaces the attachment placeholders in valid JSON: every object, at any depth, whose member
// "_placeholder" is the literal true. Names are compared with escapes decoded, the last of two members of one name counts,
// other members do not matter, and what is inside a placeholder is not looked at: all as in Socket.IO's own parser.
//
// For each of them, in order, replace appends what is to stand in its place to dst and returns the result. Num is the raw
// value of its member "num", nil where it has none: see [Index]. An error ends it and is returned as it is. Dst begins
// with all that comes before, so its length bounds what a client can have copied: one attachment may be named any number
// of times, and who puts its bytes in has to stop somewhere.
//
// Every other byte is kept. Where there is no placeholder the result is data itself, and where nothing looks like one
// nothing is allocated. Data that is not valid JSON is a [*SyntaxError] or, where nothing looks like one, returned too.
func Placeholders(data []byte, replace func(dst []byte, num json.RawMessage) ([]byte, error)) ([]byte, error) {
	return rewrite(data, &placeholder, func(dst, num []byte) ([]byte, error) { return replace(dst, num) })
}

// AppendPlaceholder appends the placeholder of attachment n.
func AppendPlaceholder(dst []byte, n int) []byte {
	dst = append(dst, `{"_placeholder":true,"num":`...)
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, '}')
}

// Index returns the value of num, a placeholder's raw number, if it is one of n attachments: an integer, written as one,
// with 0 <= value < n. Anything else is not ok, nil and the strings that Socket.IO's parser once took for property names
// (CVE-2022-2421) included. So is 1.0, which no JSON.stringify writes.
func Index(num json.RawMessage, n int) (value int, ok bool) {
	// No attachment count comes near ten digits, so nothing here can overflow.
	if len(num) == 0 || len(num) > 9 {
		return 0, false
	}
	for _, c := range num {
		if c < '0' || c > '9' {
			return 0, false
		}
		value = value*10 + int(c-'0')
	}
	return value, value < n
}
