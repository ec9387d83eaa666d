package publish

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
)

// How much a request can have.
const (
	MaxName  = 256    // bytes of the name of a room, an event, a namespace or a user
	MaxNames = 10_000 // names in a list
)

// members are the members that an object can have, and what they are read into: a
// *string, *bool, *[]string, *oneOrMore, *json.RawMessage and so on.
type members map[string]any

// read reads an object. Other members are an error, and so is null: a variable without a
// value must not make a call mean more than it should. where is the object's place in the
// body, for errors.
func (m members) read(where string, data []byte) *Problem {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil || object == nil {
		return badField("%s must be an object", describe(where))
	}
	for name, value := range object {
		field, ok := m[name]
		if !ok {
			return problemf(http.StatusBadRequest, "unknown_field", "%s has no field %s; it can have %s", describe(where), quote(name), strings.Join(slices.Sorted(maps.Keys(m)), ", "))
		}
		name = within(where, name)
		if string(value) == "null" {
			return badField("%s must not be null; leave it out", name)
		}
		switch ok, tooMany := decode(value, field); {
		case tooMany:
			return badField("%s has more than %d elements", name, MaxNames)
		case !ok:
			return badField("%s must be %s", name, kind(field))
		}
	}
	return nil
}

// decode reads a value into a field. The names of rooms, users and sockets may be
// numbers, as in answers of backends; any other text must be a string. An array is read
// up to the largest number of elements only: two bytes of a body must not become a
// hundred of memory.
func decode(value json.RawMessage, field any) (ok, tooMany bool) {
	switch field := field.(type) {
	case *[]json.RawMessage:
		list, err := rawjson.Split(value, MaxNames+1, maxNesting)
		*field = list
		return err == nil, errors.Is(err, rawjson.ErrElements)
	case *oneOrMore:
		if name, ok := rawjson.Text(value); ok {
			*field = oneOrMore{name}
			return true, false
		}
		return decode(value, (*[]string)(field))
	case *[]string:
		list, err := rawjson.Split(value, MaxNames+1, maxNesting)
		if err != nil {
			return false, errors.Is(err, rawjson.ErrElements)
		}
		*field = make([]string, len(list))
		for i, element := range list {
			var ok bool
			if (*field)[i], ok = rawjson.Text(element); !ok {
				return false, false
			}
		}
		return true, false
	}
	return json.Unmarshal(value, field) == nil, false
}

// maxNesting is how deep any JSON can be that encoding/json takes.
const maxNesting = 10_000

// within returns the place of a member of an object.
func within(where, name string) string {
	if where == "" {
		return name
	}
	return where + "." + name
}

func describe(where string) string {
	if where == "" {
		return "the body"
	}
	return where
}

// kind says what a field takes.
func kind(field any) string {
	switch field.(type) {
	case *string:
		return "a string"
	case *oneOrMore:
		return "a string or a number, or an array of them"
	case *bool:
		return "true or false"
	case *[]string:
		return "an array of strings or numbers"
	case *[]json.RawMessage:
		return "an array"
	case *map[string]json.RawMessage:
		return "an object"
	}
	return "something else"
}

// checkText reports a body that is not JSON in UTF-8. Other text would end the connection
// of every client that gets it.
func checkText(body []byte) *Problem {
	offset := -1
	var value json.RawMessage
	if err := json.Unmarshal(body, &value); err != nil {
		offset = len(body)
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			offset = int(syntax.Offset)
		}
	} else if !utf8.Valid(body) {
		for offset = 0; ; {
			r, size := utf8.DecodeRune(body[offset:])
			if r == utf8.RuneError && size == 1 {
				break
			}
			offset += size
		}
	}
	if offset < 0 {
		return nil
	}
	return problemf(http.StatusBadRequest, "bad_json", "the body is no JSON in UTF-8: see offset %d", offset)
}

// checkName reports a name that nothing can have.
func checkName(field, name string) *Problem {
	switch {
	case name == "":
		return badField("%s is empty", field)
	case len(name) > MaxName:
		return badField("%s has more than %d bytes", field, MaxName)
	case strings.ContainsFunc(name, unicode.IsControl):
		return badField("%s has control characters", field)
	}
	return nil
}

func checkNames(field string, names []string) *Problem {
	if len(names) > MaxNames {
		return badField("%s has more than %d names", field, MaxNames)
	}
	for _, name := range names {
		if problem := checkName("a name in "+field, name); problem != nil {
			return problem
		}
	}
	return nil
}
