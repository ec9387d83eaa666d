package publish

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// PageSize is how many entries a page of a listing has at most.
const PageSize = 1000

// A place is where an entry is in the order of a listing. The order does not depend on
// what comes and goes. So somebody who reads page after page sees everything that is
// there all the time, and nothing twice.
type place [2]string

func (p place) compare(other place) int { return slices.Compare(p[:], other[:]) }

// cursor returns the text by which a caller asks for what follows the place.
func (p place) cursor() string {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func parseCursor(text string) (place, *Problem) {
	var p []string
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(data, &p) != nil || len(p) != len(place{}) {
		return place{}, problemf(http.StatusBadRequest, "bad_parameter", "cursor takes what the page before says, as it is")
	}
	return place(p), nil
}

// turn returns the page that follows a cursor, and the next cursor, which is "" on the
// last page. It reorders entries.
func turn[T any](entries []T, at func(T) place, cursor string) ([]T, string, *Problem) {
	if cursor != "" {
		last, problem := parseCursor(cursor)
		if problem != nil {
			return nil, "", problem
		}
		entries = slices.DeleteFunc(entries, func(e T) bool { return at(e).compare(last) <= 0 })
	}
	slices.SortFunc(entries, func(a, b T) int { return at(a).compare(at(b)) })
	if len(entries) <= PageSize {
		return entries, "", nil
	}
	entries = entries[:PageSize]
	return entries, at(entries[PageSize-1]).cursor(), nil
}

// A socketPage is a page of the listing of sockets.
type socketPage struct {
	Sockets []socketEntry `json:"sockets"`
	Cursor  string        `json:"cursor,omitempty"`
}

type socketEntry struct {
	ID          string                     `json:"id"`
	Session     string                     `json:"session"`
	Node        string                     `json:"node"`
	Namespace   string                     `json:"namespace"`
	User        *string                    `json:"user"`
	Rooms       []string                   `json:"rooms"`
	Data        map[string]json.RawMessage `json:"data"`
	ConnectedAt time.Time                  `json:"connected_at"`
}

func (h *Handler) sockets(_ context.Context, r *request) (int, any, *Problem) {
	w, problem := whereOf(r.query)
	if problem != nil {
		return 0, nil, problem
	}
	sockets, problem := h.choose(w, true)
	if problem != nil {
		return 0, nil, problem
	}
	sockets, cursor, problem := turn(sockets, func(s *realtime.Socket) place { return place{s.ID(), s.Namespace().Name()} }, r.query["cursor"])
	if problem != nil {
		return 0, nil, problem
	}
	page := socketPage{make([]socketEntry, len(sockets)), cursor}
	for i, s := range sockets {
		page.Sockets[i] = h.describe(s)
	}
	return http.StatusOK, page, nil
}

func (h *Handler) describe(s *realtime.Socket) socketEntry {
	e := socketEntry{
		ID:          s.ID(),
		Session:     s.Session(),
		Node:        h.endpoint.Hub().Node(),
		Namespace:   s.Namespace().Name(),
		Rooms:       s.Rooms(),
		Data:        s.Data(),
		ConnectedAt: s.ConnectedAt().UTC().Truncate(time.Millisecond),
	}
	if user := s.User(); user != "" {
		e.User = &user
	}
	if e.Rooms == nil {
		e.Rooms = []string{}
	}
	slices.SortFunc(e.Rooms, strings.Compare)
	if e.Data == nil {
		e.Data = map[string]json.RawMessage{}
	}
	return e
}
