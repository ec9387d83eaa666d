package redisadapter

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/caddy-realtime/caddy-realtime/module/internal/msgpack"
	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

const (
	// maxMessage is how many bytes a message of others can have.
	maxMessage = 64 << 20

	// maxDepth is how deep it can be nested. Events have a lower limit of their own.
	maxDepth = 1000

	// maxNames is how many names a list can have, and maxSockets how many sockets.
	maxNames   = 100_000
	maxSockets = 1_000_000
)

var errMessage = errors.New("message has not the form of the adapter")

// A value is a message as JSON, or a part of one. Placeholders in it stand for the parts.
type value struct {
	text  json.RawMessage // without white space around it
	parts [][]byte
}

// parse reads a message, which is JSON or MessagePack. The adapter tells them apart by the first
// byte, too.
func parse(message []byte) (value, error) {
	switch {
	case len(message) == 0:
		return value{}, errMessage
	case len(message) > maxMessage:
		return value{}, errors.New("message is too large")
	}
	if first := message[0]; first == '{' || first == '[' {
		if !utf8.Valid(message) { // it would break the connection of every client that gets it as text
			return value{}, errors.New("message is not UTF-8")
		}
		if err := rawjson.Check(message, maxDepth); err != nil {
			return value{}, err
		}
		return value{text: message}, nil
	}
	text, parts, rest, err := msgpack.AppendJSON(nil, message, realtime.MaxAttachments, maxDepth)
	if err == nil && len(rest) > 0 {
		err = errMessage
	}
	return value{text, parts}, err
}

// members returns the members of an object, by their names.
func (v value) members() (map[string]value, error) {
	if !rawjson.Object(v.text) {
		return nil, errMessage
	}
	all := make(map[string]value)
	for raw, text := range rawjson.Members(v.text) {
		if len(all) == maxMembers {
			return nil, fmt.Errorf("message has more than %d members", maxMembers)
		}
		if name, ok := rawjson.Unquote(raw); ok {
			all[name] = value{text, v.parts}
		}
	}
	return all, nil
}

// maxMembers is how many members an object of the adapter can have. The most that any has is seven.
const maxMembers = 50

// elements returns the elements of an array, so many at most.
func (v value) elements(most int) ([]value, error) {
	split, err := rawjson.Split(v.text, most, maxDepth)
	if err != nil {
		return nil, err
	}
	all := make([]value, len(split))
	for i, text := range split {
		all[i] = value{text, v.parts}
	}
	return all, nil
}

// none reports whether the value is not there: undefined is null in MessagePack.
func (v value) none() bool { return len(v.text) == 0 || string(v.text) == "null" }

// string returns a text, or "" if there is none.
func (v value) string() (string, error) {
	if v.none() {
		return "", nil
	}
	text, ok := rawjson.Unquote(v.text)
	if !ok {
		return "", errMessage
	}
	return text, nil
}

// name returns the name of a room or an event. In JavaScript, it may be a number.
func (v value) name() (string, error) {
	if rawjson.Number(v.text) {
		return string(v.text), nil
	}
	text, ok := rawjson.Unquote(v.text)
	if !ok {
		return "", errMessage
	}
	return text, nil
}

// names returns a list of names, or nil if there is none.
func (v value) names() ([]string, error) {
	if v.none() {
		return nil, nil
	}
	elements, err := v.elements(maxNames)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(elements))
	for i, e := range elements {
		if names[i], err = e.name(); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// number returns a whole number that is not negative; 0 if there is none.
func (v value) number() (n int, err error) {
	if v.none() {
		return 0, nil
	}
	if err := json.Unmarshal(v.text, &n); err != nil || n < 0 {
		return 0, errMessage
	}
	return n, nil
}

// isTrue reports whether the value is true.
func (v value) isTrue() bool { return string(v.text) == "true" }

// arg returns the value as an argument, which has only its own parts.
func (v value) arg() realtime.Arg {
	if len(v.parts) == 0 {
		return realtime.Arg{JSON: v.text}
	}
	var own [][]byte
	text, err := rawjson.Placeholders(v.text, func(dst []byte, num json.RawMessage) ([]byte, error) {
		n, ok := rawjson.Index(num, len(v.parts))
		if !ok {
			return nil, errMessage
		}
		own = append(own, v.parts[n])
		return rawjson.AppendPlaceholder(dst, len(own)-1), nil
	})
	if err != nil {
		panic(err) // cannot happen: parse has written the placeholders
	}
	return realtime.Arg{JSON: text, Binary: own}
}
