package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
)

// A wrongAnswer is the error of an answer that cannot be understood. It says what is
// wrong, and where in the answer.
type wrongAnswer struct {
	place   string // such as "emit[0].to"; "" for the answer as a whole
	problem string // such as "must be a string"
}

func wrong(format string, args ...any) *wrongAnswer {
	return &wrongAnswer{problem: fmt.Sprintf(format, args...)}
}

// Error implements error.
func (w *wrongAnswer) Error() string {
	if w.place == "" {
		return "the answer " + w.problem
	}
	return w.place + " " + w.problem
}

// within returns the error of what is in a member, or an element such as "[0]".
func (w *wrongAnswer) within(name string) *wrongAnswer {
	if w == nil {
		return nil
	}
	if w.place != "" && w.place[0] != '[' {
		name += "."
	}
	return &wrongAnswer{name + w.place, w.problem}
}

func (w *wrongAnswer) at(i int) *wrongAnswer {
	if w == nil {
		return nil
	}
	return w.within(fmt.Sprintf("[%d]", i))
}

// A reader reads JSON as backends write it. Some languages have one type for several of
// JSON's, and write the same thing in several ways. The reader accepts those that have
// only one meaning:
//
//   - null is the same as a member that is not there,
//   - [] is an empty object (PHP), and {} an empty list (Lua),
//   - an object with the members "0", "2" and so on is a list (PHP, after
//     array_filter),
//   - a number is its digits where a text is meant, and 0 and 1 are false and true,
//   - a member's name may be written in another style: expiresAt or ExpiresAt.
//
// It collects what it leaves out.
type reader struct {
	oddities []string // such as `"colour" is unknown, and left out; known are …`
}

func (r *reader) note(format string, args ...any) {
	r.oddities = append(r.oddities, fmt.Sprintf(format, args...))
}

// An object is filled with members.
type object interface {
	// take sets a member, whose value is not null.
	take(r *reader, name string, value json.RawMessage) *wrongAnswer
}

// maxKnown is how many members an object can have.
const maxKnown = 8

// members reads an object with members of known names, and calls take in the order of
// these names. Place says where the object is, for what is left out.
func (r *reader) members(place string, data json.RawMessage, known []string, into object) *wrongAnswer {
	if err := checkObject(data); err != nil {
		return err
	}
	var values [maxKnown]json.RawMessage // by the place of their names in known
	var others map[string]json.RawMessage
	for name, value := range rawjson.Members(data) {
		if i := indexOf(known, name); i >= 0 {
			values[i] = value
			continue
		}
		if others == nil {
			others = make(map[string]json.RawMessage)
		}
		text, _ := rawjson.Unquote(name)
		others[text] = value
	}
	for i, name := range known {
		if err := r.give(into, name, values[i]); err != nil {
			return err
		}
	}
	for i, name := range known {
		if len(others) == 0 {
			return nil
		}
		if other, ok := restyled(others, name); ok && values[i] == nil {
			value := others[other]
			delete(others, other)
			if err := r.give(into, name, value); err != nil {
				return err
			}
		}
	}
	for name, value := range others {
		if !isNull(value) {
			r.note("%s%s is unknown, and left out; known are %s", place, quote(name), strings.Join(known, ", "))
		}
	}
	return nil
}

// give calls take, unless there is no value.
func (r *reader) give(into object, name string, value json.RawMessage) *wrongAnswer {
	if isNull(value) {
		return nil
	}
	return into.take(r, name, value).within(name)
}

// indexOf returns which of the known names a name is, in raw JSON, or -1.
func indexOf(known []string, name json.RawMessage) int {
	for i, text := range known {
		if rawjson.Named(name, text) {
			return i
		}
	}
	return -1
}

// restyled returns the name of a member that is the same name in another style, such as
// expiresAt for expires_at.
func restyled(object map[string]json.RawMessage, name string) (string, bool) {
	plain := strings.ReplaceAll(name, "_", "")
	for other := range object {
		if strings.EqualFold(strings.ReplaceAll(other, "_", ""), plain) {
			return other, true
		}
	}
	return "", false
}

// quote returns a name of the backend's in quotes, and cut.
func quote(name string) string {
	const most = 64
	if len(name) > most {
		end := most
		for end > 0 && !utf8.RuneStart(name[end]) {
			end--
		}
		name = name[:end] + "…"
	}
	return strconv.Quote(name)
}

func isNull(data json.RawMessage) bool { return len(data) == 0 || data[0] == 'n' }

// checkObject returns what is wrong about data that is no object.
func checkObject(data json.RawMessage) *wrongAnswer {
	if !rawjson.Object(data) && !isEmpty(data, '[', ']') {
		return wrong("must be an object")
	}
	return nil
}

// objectOf returns the members of an object. They are parts of data.
func objectOf(data json.RawMessage) (map[string]json.RawMessage, *wrongAnswer) {
	if err := checkObject(data); err != nil {
		return nil, err
	}
	object := make(map[string]json.RawMessage)
	for name, value := range rawjson.Members(data) {
		text, _ := rawjson.Unquote(name)
		object[text] = value
	}
	return object, nil
}

// keptObjectOf is objectOf with copies of the members, which may outlive data.
func keptObjectOf(data json.RawMessage) (map[string]json.RawMessage, *wrongAnswer) {
	object, err := objectOf(data)
	for name, value := range object {
		object[name] = bytes.Clone(value)
	}
	return object, err
}

// isEmpty reports whether data is an array or an object of nothing.
func isEmpty(data json.RawMessage, begin, end byte) bool {
	return len(data) >= 2 && data[0] == begin && data[len(data)-1] == end && len(bytes.TrimSpace(data[1:len(data)-1])) == 0
}

// listOf returns the elements of a list with most elements at most.
func listOf(data json.RawMessage, most int) ([]json.RawMessage, *wrongAnswer) {
	if rawjson.Object(data) {
		return listOfNumbered(data, most)
	}
	list, err := rawjson.Split(data, most, maxNesting)
	switch {
	case errors.Is(err, rawjson.ErrElements):
		return nil, wrong("has more than %d elements", most)
	case err != nil:
		return nil, wrong("must be an array")
	}
	return list, nil
}

// maxNesting is how deep any JSON can be that encoding/json takes.
const maxNesting = 10_000

// listOfNumbered returns the elements of a list that is written as an object with the
// members "0", "1" and so on.
func listOfNumbered(data json.RawMessage, most int) ([]json.RawMessage, *wrongAnswer) {
	list := []json.RawMessage{}
	d := json.NewDecoder(bytes.NewReader(data))
	_, _ = d.Token() // the brace
	for d.More() {
		name, err := d.Token()
		text, _ := name.(string)
		var element json.RawMessage
		if err != nil || text == "" || strings.Trim(text, "0123456789") != "" || d.Decode(&element) != nil {
			return nil, wrong("must be an array")
		}
		if len(list) == most {
			return nil, wrong("has more than %d elements", most)
		}
		list = append(list, element)
	}
	return list, nil
}

// How much an answer can have: as much as a request of the HTTP API.
const (
	maxName  = 256    // bytes
	maxNames = 10_000 // in a list
	maxEmits = 10_000
)

// nameOf reads the name of something.
func nameOf(data json.RawMessage) (string, *wrongAnswer) {
	name, ok := rawjson.Text(data)
	switch {
	case !ok:
		return "", wrong("must be a string")
	case name == "":
		return "", wrong("is empty")
	case len(name) > maxName:
		return "", wrong("has more than %d bytes", maxName)
	case strings.ContainsFunc(name, unicode.IsControl):
		return "", wrong("has control characters")
	}
	return name, nil
}

// namesOf reads a list of names. The result is not nil, even if the list is empty.
func namesOf(data json.RawMessage) ([]string, *wrongAnswer) {
	list, err := listOf(data, maxNames)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(list))
	for i, element := range list {
		if names[i], err = nameOf(element); err != nil {
			return nil, err.at(i)
		}
	}
	return names, nil
}

// textOf reads a text for people.
func textOf(data json.RawMessage) (string, *wrongAnswer) {
	text, ok := rawjson.Text(data)
	if !ok {
		return "", wrong("must be a string")
	}
	return text, nil
}

// flagOf reads a truth value.
func flagOf(data json.RawMessage) (bool, *wrongAnswer) {
	switch string(data) {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, wrong("must be true or false")
}
