package rawjson

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// The binary argument of plain JSON, {"$binary":"<base64>"}, as backends and plain WebSockets write it.
var binaryObject = pattern{
	key:     "$binary",
	first:   '"',
	operand: "$binary",
	alone:   true,
}

// Binaries is the way back from [Placeholders]: it replaces, in valid JSON, every object at any depth that has one member,
// named "$binary", whose value is a string. For each of them replace gets that string's raw JSON: see [DecodeBinary].
// In all else it is like [Placeholders].
//
// It leaves placeholders alone. Data from outside may hold some that were never an attachment's, and one whose number is
// out of range makes a Socket.IO client close its connection: who turns binaries into placeholders refuses the data that
// [Placeholders] finds any in first.
func Binaries(data []byte, replace func(dst []byte, value json.RawMessage) ([]byte, error)) ([]byte, error) {
	return rewrite(data, &binaryObject, func(dst, value []byte) ([]byte, error) { return replace(dst, value) })
}

// AppendBinary appends the object that stands for b.
func AppendBinary(dst, b []byte) []byte {
	dst = append(dst, `{"$binary":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, `"}`...)
}

// DecodeBinary returns the bytes that value, a raw JSON string, stands for: standard base64 with padding. The string may
// have escapes in it, as some encoders write "/" as "\/".
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
