package realtime

import (
	"encoding/base64"
	"encoding/json"
	"errors"

	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
)

// Plain JSON is how arguments are told to those who have no frames for binary
// data: backends, and plain WebSockets. Binary data is {"$binary":"<base64>"},
// at any depth of an argument.

// ParseInline reads an argument of plain JSON, which must be valid. The error
// says what would be right.
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
	// A placeholder that was written by hand would be taken for one of ours.
	_, err = rawjson.Placeholders(raw, func([]byte, json.RawMessage) ([]byte, error) {
		return nil, errors.New(`an argument with "$binary" has no "_placeholder"`)
	})
	arg.JSON = data
	return arg, err
}

// maxPlain bounds what arguments with binary data become, in bytes. A Socket.IO
// client may name one attachment a thousand times and send it once; here it
// would be there a thousand times.
const maxPlain = 16 << 20

var errPlain = errors.New("argument is too large with its binary data in it")

// AppendInline appends the argument as plain JSON. What would make the result
// larger than 16 MiB becomes null.
func (a Arg) AppendInline(dst []byte) []byte {
	if len(a.Binary) == 0 {
		return append(dst, a.JSON...)
	}
	before := len(dst)
	data, err := rawjson.Placeholders(a.JSON, func(dst []byte, num json.RawMessage) ([]byte, error) {
		n, ok := rawjson.Index(num, len(a.Binary))
		if !ok {
			return append(dst, "null"...), nil // an Arg made by hand, and wrongly
		}
		if before+len(dst)+base64.StdEncoding.EncodedLen(len(a.Binary[n])) > maxPlain {
			return nil, errPlain
		}
		return rawjson.AppendBinary(dst, a.Binary[n]), nil
	})
	if err != nil {
		return append(dst, "null"...)
	}
	return append(dst, data...)
}

// AppendInlineArgs appends arguments as an array of plain JSON.
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

// ParseInlineArgs reads arguments of plain JSON.
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
