package jwt

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
)

// claims are those of a token, by name.
type claims map[string]json.RawMessage

// get returns a claim. The name may be that of a member within a claim, with dots
// between, such as realm_access.roles. A claim that is null counts as missing.
func (c claims) get(name string) (json.RawMessage, bool) {
	if value, ok := c[name]; ok {
		return value, string(value) != "null"
	}
	for i, r := range name {
		if r != '.' {
			continue
		}
		var inner claims
		if value, ok := c[name[:i]]; ok && json.Unmarshal(value, &inner) == nil {
			if value, ok := inner.get(name[i+1:]); ok {
				return value, true
			}
		}
	}
	return nil, false
}

// texts returns the text of a claim that is a string, a number or a boolean, and the
// texts of the elements of an array. Other values have no text.
func (c claims) texts(name string) []string {
	value, ok := c.get(name)
	if !ok {
		return nil
	}
	if one, ok := text(value); ok {
		return []string{one}
	}
	var elements []json.RawMessage
	if json.Unmarshal(value, &elements) != nil {
		return nil
	}
	var all []string
	for _, element := range elements {
		if one, ok := text(element); ok {
			all = append(all, one)
		}
	}
	return all
}

func text(value json.RawMessage) (string, bool) {
	switch value[0] {
	case '{', '[', 'n':
		return "", false
	case 't', 'f':
		return string(value), true
	}
	if text, ok := rawjson.Text(value); ok {
		return text, true
	}
	return string(value), true // A number that is no integer stays as it is written.
}

// A Room is the name of a room with at most one claim in it, such as
// "org:{claims.org_id}".
type Room struct {
	before, claim, after string // without a claim the name is before
}

var placeholder = regexp.MustCompile(`\{claims\.([^{}]+)\}`)

// ParseRoom reads a room's name, which has one claim at most.
func ParseRoom(text string) (Room, error) {
	found := placeholder.FindAllStringSubmatchIndex(text, -1)
	switch {
	case text == "":
		return Room{}, errors.New("a room has a name")
	case len(found) > 1:
		return Room{}, fmt.Errorf("the room %q has more than one claim; write one at most", text)
	case len(found) == 0 && strings.ContainsAny(text, "{}"):
		return Room{}, fmt.Errorf("the room %q has braces and no claim in them; "+
			"write one such as org:{claims.org_id}", text)
	case len(found) == 0:
		return Room{before: text}, nil
	}
	at := found[0]
	r := Room{before: text[:at[0]], claim: text[at[2]:at[3]], after: text[at[1]:]}
	if strings.ContainsAny(r.before+r.after, "{}") {
		return Room{}, fmt.Errorf("the room %q has braces and no claim in them; "+
			"write one such as org:{claims.org_id}", text)
	}
	return r, nil
}

// String returns the room as ParseRoom reads it.
func (r Room) String() string {
	if r.claim == "" {
		return r.before
	}
	return r.before + "{claims." + r.claim + "}" + r.after
}

// names returns the names of the rooms for the claims of a token.
func (r Room) names(c claims) []string {
	if r.claim == "" {
		return []string{r.before}
	}
	var names []string
	for _, value := range c.texts(r.claim) {
		if value != "" {
			names = append(names, r.before+value+r.after)
		}
	}
	return names
}
