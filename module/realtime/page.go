package realtime

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
)

// MaxPage is how many entries a page of a listing has at most.
const MaxPage = 1000

// A Page says which part of a listing is asked for.
type Page struct {
	// Cursor is what the page before says. Default: the first page.
	Cursor string
	// Limit is how many entries the page has at most. A page that is not the last may have fewer.
	// Default and maximum: MaxPage.
	Limit int
}

// ErrBadCursor means that a Page's cursor is not one that a page before has said.
var ErrBadCursor = errors.New("cursor is not that of a page")

// start returns after what the page begins, and its limit.
func (p Page) start() (after position, limit int, err error) {
	limit = p.Limit
	if limit <= 0 || limit > MaxPage {
		limit = MaxPage
	}
	if p.Cursor != "" {
		after, err = parseCursor(p.Cursor)
	}
	return after, limit, err
}

// A position is where an entry is in the order of a listing. The order depends neither on the nodes
// nor on what comes and goes. So somebody who reads page after page sees everything that is there
// all the time, and nothing twice. The zero value is before all entries.
type position [2]string

func (p position) compare(other position) int { return slices.Compare(p[:], other[:]) }

// cursor returns the text by which a caller asks for what follows the position.
func (p position) cursor() string {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // cannot happen: strings
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func parseCursor(text string) (position, error) {
	var p []string
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(data, &p) != nil || len(p) != len(position{}) {
		return position{}, ErrBadCursor
	}
	return position(p), nil
}

// An entry is one of a listing.
type entry interface{ position() position }

// A listing is a part of the entries of one node, or of all: those that follow a position, in order.
type listing[E entry] struct {
	Entries []E  `json:"entries"`
	More    bool `json:"more,omitempty"` // there are more after the last one
}

// newListing returns the first entries after a position. It reorders them.
func newListing[E entry](entries []E, after position, limit int) listing[E] {
	entries = slices.DeleteFunc(entries, func(e E) bool { return e.position().compare(after) <= 0 })
	slices.SortFunc(entries, comparePositions)
	l := listing[E]{Entries: entries}
	l.cut(limit)
	return l
}

func comparePositions[E entry](a, b E) int { return a.position().compare(b.position()) }

// cut leaves at most so many entries.
func (l *listing[E]) cut(limit int) {
	if len(l.Entries) > limit {
		l.Entries, l.More = l.Entries[:limit], true
	}
}

// shorten implements shortener.
func (l *listing[E]) shorten() bool {
	if len(l.Entries) < 2 {
		return false
	}
	l.cut((len(l.Entries) + 1) / 2)
	return true
}

// cursor returns the cursor of the page that follows; "" if there is none.
func (l *listing[E]) cursor() string {
	if !l.More {
		return ""
	}
	return l.Entries[len(l.Entries)-1].position().cursor()
}

var errBadListing = errors.New("its entries are not in order, too many, or not those that were asked for")

// check reports whether another node's listing can be one that was asked for.
func (l *listing[E]) check(after position, limit int) error {
	if len(l.Entries) > limit || l.More && len(l.Entries) == 0 {
		return errBadListing
	}
	for _, e := range l.Entries {
		if e.position().compare(after) <= 0 {
			return errBadListing
		}
		after = e.position()
	}
	return nil
}

// mergeListings returns the first entries of several nodes. It goes no further than the node that
// says the least: what follows there is not known. Combine makes one entry of two at the same
// position.
func mergeListings[E entry](parts []listing[E], limit int, combine func(a, b E) E) listing[E] {
	if len(parts) == 1 {
		return parts[0]
	}
	var all []E
	more := false
	var last position // if there is more
	for _, part := range parts {
		all = append(all, part.Entries...)
		if part.More {
			if end := part.Entries[len(part.Entries)-1].position(); !more || end.compare(last) < 0 {
				last = end
			}
			more = true
		}
	}
	slices.SortStableFunc(all, comparePositions)
	merged := listing[E]{Entries: all[:0], More: more}
	for _, e := range all {
		n := len(merged.Entries)
		switch {
		case more && e.position().compare(last) > 0:
			merged.cut(limit)
			return merged
		case n > 0 && merged.Entries[n-1].position() == e.position():
			merged.Entries[n-1] = combine(merged.Entries[n-1], e)
		default:
			merged.Entries = append(merged.Entries, e)
		}
	}
	merged.cut(limit)
	return merged
}

// mergeNames returns the names of both lists, sorted, each once.
func mergeNames(a, b []string) []string {
	if len(b) == 0 {
		return a
	}
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}
