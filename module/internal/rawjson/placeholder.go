package rawjson

import (
	"encoding/json"
	"strconv"
)

// placeholder is {"_placeholder":true,"num":0}, which stands for an attachment.
// https://socket.io/docs/v4/socket-io-protocol/#packet-encoding
var placeholder = pattern{
	key:     "_placeholder",
	first:   't',
	operand: "num",
}

// Placeholders replaces the placeholders of attachments in valid JSON. A placeholder is an
// object, at any depth, whose member "_placeholder" is the literal true. As in Socket.IO's own
// parser, names may have escapes, the last of several members with the same name counts, other
// members are ignored, and there are no placeholders inside another.
//
// For each placeholder, in order, replace appends its replacement to dst and returns the result.
// num is the raw value of the placeholder's member "num", or nil if it has none: see [Index]. If
// replace returns an error, Placeholders returns that error. dst holds everything before the
// placeholder. Since one attachment may have any number of placeholders, a caller that inserts
// its bytes should limit the length of dst.
//
// All other bytes stay as they are. Without placeholders, the result is data itself, and nothing
// is allocated if no object looks like one. If data is not valid JSON, the error is a
// [*SyntaxError], or nil if no object looks like a placeholder.
func Placeholders(data []byte, replace func(dst []byte, num json.RawMessage) ([]byte, error)) ([]byte, error) {
	return rewrite(data, &placeholder, func(dst, num []byte) ([]byte, error) { return replace(dst, num) })
}

// AppendPlaceholder appends the placeholder of attachment n.
func AppendPlaceholder(dst []byte, n int) []byte {
	dst = append(dst, `{"_placeholder":true,"num":`...)
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, '}')
}

// Index returns the value of num, the raw number of a placeholder, if that is an integer with 0 <=
// value < n. It returns false for all else: for nil, for the strings that Socket.IO's parser once
// took for names of properties (CVE-2022-2421), and for 1.0, which JSON.stringify never writes.
func Index(num json.RawMessage, n int) (value int, ok bool) {
	// There are never as many attachments as a number of ten digits, so the value does not
	// overflow.
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
