package socketio

import (
	"encoding/json"
	"slices"

	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// parseArgs appends the arguments of an event or an ack to args, from the elements of its data and
// its attachments. The elements are without the event's name.
func parseArgs(args []realtime.Arg, elements []json.RawMessage, attachments [][]byte) ([]realtime.Arg, error) {
	args = slices.Grow(args, len(elements))
	if len(attachments) == 0 { // an object that looks like a placeholder is only an object
		for _, element := range elements {
			args = append(args, realtime.Arg{JSON: element})
		}
		return args, nil
	}
	references := 0
	for _, element := range elements {
		arg, err := parseBinaryArg(element, attachments, &references)
		if err != nil {
			return nil, err
		}
		args = append(args, arg)
	}
	return args, nil
}

// maxReferences is the maximum number of placeholders in a packet. Clients write one for each
// attachment. A placeholder takes 30 bytes, and each has its attachment repeated wherever
// attachments are written out.
const maxReferences = 2 * realtime.MaxAttachments

// parseBinaryArg returns the argument of an element, with the attachments that the argument uses.
// Its placeholders are renumbered accordingly. references counts the placeholders of the packet.
func parseBinaryArg(element json.RawMessage, attachments [][]byte, references *int) (realtime.Arg, error) {
	var arg realtime.Arg
	var local [realtime.MaxAttachments]int // 1 + the number of an attachment in the argument; 0: not used
	data, err := rawjson.Placeholders(element, func(dst []byte, num json.RawMessage) ([]byte, error) {
		n, ok := rawjson.Index(num, len(attachments))
		if *references++; !ok || *references > maxReferences {
			return nil, errPacket // CVE-2022-2421
		}
		if local[n] == 0 {
			arg.Binary = append(arg.Binary, attachments[n])
			local[n] = len(arg.Binary)
		}
		return rawjson.AppendPlaceholder(dst, local[n]-1), nil
	})
	arg.JSON = data
	return arg, err
}

// appendArg is the inverse of parseBinaryArg: it appends the argument's JSON, with placeholders
// that are numbered by all attachments of the packet. If there are any, an object that only looks
// like a placeholder becomes null: clients would take it for one, and close their connection.
func appendArg(data []byte, arg realtime.Arg, all realtime.Attachments) []byte {
	if len(all) == 0 {
		return append(data, arg.JSON...)
	}
	renumbered, err := rawjson.Placeholders(arg.JSON, func(dst []byte, num json.RawMessage) ([]byte, error) {
		n, ok := rawjson.Index(num, len(arg.Binary))
		if !ok {
			return append(dst, "null"...), nil
		}
		return rawjson.AppendPlaceholder(dst, all.Index(arg.Binary[n])), nil
	})
	if err != nil {
		return append(data, "null"...)
	}
	return append(data, renumbered...)
}
