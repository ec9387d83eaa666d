package socketio

import (
	"encoding/json"

	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// parseArgs splits the data of an event or an ack, with the attachments that
// came with it. A first element that is the event's name is not an argument
// and must have been cut off.
func parseArgs(elements []json.RawMessage, attachments [][]byte) ([]realtime.Arg, error) {
	args := make([]realtime.Arg, len(elements))
	references := 0
	for i, element := range elements {
		args[i].JSON = element
		if len(attachments) == 0 {
			continue // what looks like a placeholder is none
		}
		arg, err := parseBinaryArg(element, attachments, &references)
		if err != nil {
			return nil, err
		}
		args[i] = arg
	}
	return args, nil
}

// maxReferences is how many placeholders a packet can have. Clients write one
// for each attachment; more would be a way to have an attachment repeated, at
// the cost of 30 bytes each, wherever it is written out in full.
const maxReferences = 2 * realtime.MaxAttachments

// parseBinaryArg numbers the placeholders of one argument anew, by the
// attachments that this argument uses. It adds to the references of the packet.
func parseBinaryArg(element json.RawMessage, attachments [][]byte, references *int) (realtime.Arg, error) {
	var arg realtime.Arg
	var local [realtime.MaxAttachments]int // 1 + the number that an attachment has in the argument
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

// appendArg is the inverse of parseBinaryArg: it appends the argument's JSON,
// with its placeholders numbered by all the attachments of the packet. Beside
// attachments, an object that only looks like a placeholder becomes null: the
// clients would take it for one, and close their connection.
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
