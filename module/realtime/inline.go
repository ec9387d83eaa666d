package realtime

import (
	"encoding/base64"
	"encoding/json"
	"errors"

	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
)

// Inline JSON is the form of arguments for backends and plain WebSockets, which have no frames for
// binary data. Binary data stands in the JSON as {"$binary":"<base64>"}, at any depth.

// ParseInline reads an argument of inline JSON, which must be valid JSON. The error says what would
// be right.
func ParseInline(raw json.RawMessage) (Arg, error) {
	arg := Arg{JSON: raw}
	data, err := rawjson.Binaries(raw, func(dst []byte, value json.RawMessage) ([]byte, error) {
		if len(arg.Binary) == MaxAttachments {
			return nil, ErrTooManyAttachments
		}
		part, err := rawjson.DecodeBinary(value)
		if err != nil {
			return nil, err
		}
		arg.Binary = append(arg.Binary, part)
		return rawjson.AppendPlaceholder(dst, len(arg.Binary)-1), nil
	})
	if err != nil || len(arg.Binary) == 0 {
		return arg, err
	}
	// A placeholder in the input would be mistaken for one that stands for binary data.
	_, err = rawjson.Placeholders(raw, func([]byte, json.RawMessage) ([]byte, error) {
		return nil, errors.New(`an argument with "$binary" has no "_placeholder"`)
	})
	arg.JSON = data
	return arg, err
}

// maxInline bounds the size in bytes of arguments with inline binary data. A Socket.IO client may
// send one attachment and name it a thousand times; inline, it would be there a thousand times.
const maxInline = 16 << 20

var errInlineTooLarge = errors.New("argument is too large with its binary data in it")

// AppendInline appends the argument as inline JSON. If that would make dst longer than 16 MiB, it
// appends null instead.
func (a Arg) AppendInline(dst []byte) []byte {
	if len(a.Binary) == 0 {
		return append(dst, a.JSON...)
	}
	before := len(dst)
	data, err := rawjson.Placeholders(a.JSON, func(dst []byte, num json.RawMessage) ([]byte, error) {
		n, ok := rawjson.Index(num, len(a.Binary))
		if !ok {
			return append(dst, "null"...), nil // the Arg is invalid
		}
		if before+len(dst)+base64.StdEncoding.EncodedLen(len(a.Binary[n])) > maxInline {
			return nil, errInlineTooLarge
		}
		return rawjson.AppendBinary(dst, a.Binary[n]), nil
	})
	if err != nil {
		return append(dst, "null"...)
	}
	return append(dst, data...)
}

// AppendInlineArgs appends arguments as an array of inline JSON.
func AppendInlineArgs(dst []byte, args []Arg) []byte {
	dst = append(dst, '[')
	for i, arg := range args {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = arg.AppendInline(dst)
	}
	return append(dst, ']')
}

// ParseInlineArgs reads arguments of inline JSON. It shares MaxAttachments among them.
func ParseInlineArgs(raws []json.RawMessage) ([]Arg, error) {
	args := make([]Arg, len(raws))
	parts := 0
	for i, raw := range raws {
		arg, err := ParseInline(raw)
		if err != nil {
			return nil, err
		}
		if parts += len(arg.Binary); parts > MaxAttachments {
			return nil, ErrTooManyAttachments
		}
		args[i] = arg
	}
	return args, nil
}
