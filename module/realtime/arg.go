package realtime

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"unsafe"

	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
)

// An Arg is one argument of an event or an ack: a JSON value that is passed on byte by byte. If the
// Arg has binary parts, each object {"_placeholder":true,"num":N} in the JSON stands for Binary[N];
// without binary parts, such an object is an ordinary one. Neither field may be modified.
type Arg struct {
	JSON   json.RawMessage
	Binary [][]byte
}

// binaryArg is the JSON of an argument that is one binary part.
var binaryArg = json.RawMessage(`{"_placeholder":true,"num":0}`)

// JSON returns v as an argument, encoded by encoding/json without escapes for HTML.
func JSON(v any) (Arg, error) {
	var b bytes.Buffer
	if err := rawjson.Encode(&b, v); err != nil {
		return Arg{}, fmt.Errorf("encoding argument: %w", err)
	}
	return Arg{JSON: b.Bytes()}, nil
}

// String returns a string as an argument.
func String(s string) Arg {
	arg, err := JSON(s)
	if err != nil {
		panic(err) // a string can always be encoded
	}
	return arg
}

// Bytes returns binary data as an argument.
func Bytes(b []byte) Arg { return Arg{JSON: binaryArg, Binary: [][]byte{b}} }

// AsBytes returns the data of an argument that is one binary part. It reports false for any other.
func (a Arg) AsBytes() ([]byte, bool) {
	if len(a.Binary) == 1 && bytes.Equal(a.JSON, binaryArg) {
		return a.Binary[0], true
	}
	return nil, false
}

// How many bytes an argument and a binary part take besides their content.
const (
	argSize  = int(unsafe.Sizeof(Arg{}))
	partSize = int(unsafe.Sizeof([]byte(nil)))
)

// sizeOf returns how many bytes the arguments hold. A binary part that several share counts once.
func sizeOf(args []Arg) int {
	size := len(args) * argSize
	for _, arg := range args {
		size += len(arg.JSON) + len(arg.Binary)*partSize
	}
	for _, part := range CollectAttachments(args) {
		size += len(part)
	}
	return size
}

// compact returns a copy of args in memory of its own. Arguments from a client are slices of all
// that was read at once, and keep that memory alive: whoever keeps arguments keeps a copy.
func compact(args []Arg) []Arg {
	if len(args) == 0 {
		return nil
	}
	texts, references := 0, 0
	for _, arg := range args {
		texts += len(arg.JSON)
		references += len(arg.Binary)
	}
	text := make([]byte, 0, texts)
	all := CollectAttachments(args)
	copies := make([][]byte, len(all))
	parts := make([][]byte, 0, references)
	own := make([]Arg, len(args))
	for i, arg := range args {
		begin := len(text)
		text = append(text, arg.JSON...)
		own[i].JSON = text[begin:len(text):len(text)]
		if len(arg.Binary) == 0 {
			continue
		}
		first := len(parts)
		for _, part := range arg.Binary {
			n := all.Index(part)
			if copies[n] == nil {
				copies[n] = append(make([]byte, 0, len(part)), part...)
			}
			parts = append(parts, copies[n])
		}
		own[i].Binary = parts[first:len(parts):len(parts)]
	}
	return own
}

// MaxAttachments is how many different binary parts the arguments of one event or ack can have. The
// parsers of Socket.IO's server and clients refuse more.
const MaxAttachments = 10

// Attachments are the different binary parts of a list of arguments.
type Attachments [][]byte

// CollectAttachments returns the binary parts of args. Parts that are the same bytes in memory
// count as one: a client that names one attachment a thousand times must not have it sent a
// thousand times.
func CollectAttachments(args []Arg) Attachments {
	var all Attachments
	for _, arg := range args {
		for _, part := range arg.Binary {
			if all.Index(part) < 0 {
				all = append(all, part)
			}
		}
	}
	return all
}

// Index returns the index of part among the attachments, or -1. It compares addresses, not bytes.
func (a Attachments) Index(part []byte) int {
	return slices.IndexFunc(a, func(b []byte) bool {
		return len(b) == len(part) && unsafe.SliceData(b) == unsafe.SliceData(part)
	})
}

// ErrTooManyAttachments means that arguments have more than MaxAttachments binary parts.
var ErrTooManyAttachments = fmt.Errorf("there are too many binary parts: at most %d can be sent", MaxAttachments)

func checkAttachments(args []Arg) error {
	if len(CollectAttachments(args)) > MaxAttachments {
		return ErrTooManyAttachments
	}
	return nil
}
