package rawjson

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// binaryObject is {"$binary":"<base64>"}, as backends and plain WebSockets write binary data.
var binaryObject = pattern{
	key:     "$binary",
	first:   '"',
	operand: "$binary",
	alone:   true,
}

// Binaries is the inverse of [Placeholders]. In valid JSON, it replaces every object, at any depth,
// whose only member is named "$binary" and is a string. For each of them, replace gets the raw JSON
// of that string: see [DecodeBinary]. Otherwise, it is like [Placeholders].
//
// Binaries does not change placeholders. Data from outside may have some that do not stand for an
// attachment, and a placeholder whose number is out of range makes a Socket.IO client close its
// connection. A caller that turns binaries into placeholders must first refuse data in which
// [Placeholders] finds any.
func Binaries(data []byte, replace func(dst []byte, value json.RawMessage) ([]byte, error)) ([]byte, error) {
	return rewrite(data, &binaryObject, func(dst, value []byte) ([]byte, error) { return replace(dst, value) })
}

// AppendBinary appends the object that stands for b.
func AppendBinary(dst, b []byte) []byte {
	dst = append(dst, `{"$binary":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, `"}`...)
}

// DecodeBinary returns the bytes of value, a raw JSON string of standard base64 with padding. The
// string may have escapes: some encoders write "/" as "\/".
func DecodeBinary(value json.RawMessage) ([]byte, error) {
	text, ok := Unquote(value)
	if !ok {
		return nil, errors.New("decoding $binary: not a string")
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("decoding $binary: %w", err)
	}
	return b, nil
}
