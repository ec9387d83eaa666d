package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/stream"
	"github.com/caddy-realtime/caddy-realtime/module/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestSessionIDs(t *testing.T) {
	key := new(keys).next([]byte("secret"))
	a, b := sessionIDs{"hub", "AAAA"}, sessionIDs{"hub", "BBBB"}
	id := a.make(key.current, "default")
	if len(id) != 38 || strings.ContainsFunc(id, func(r rune) bool { return !strings.ContainsRune("-_", r) && (r < '0' || r > 'z') }) {
		t.Error("the id", id)
	}
	known := func(node sessionIDs, k *keys, id string) bool {
		tag, ok := node.tagOf(k, id, "default")
		return tag == "AAAA" && ok
	}
	later := key.next([]byte("another"))
	for name, is := range map[string]bool{
		"own":                  known(a, key, id),
		"of another node":      known(b, key, id),
		"with a former key":    known(b, later, id),
		"with the key of now":  known(b, later, a.make(later.current, "default")),
		"when there is no key": known(b, key.next(nil), id),
		"after the same key":   known(b, later.next([]byte("another")), id),
	} {
		if !is {
			t.Error("unknown", name)
		}
	}
	for name, is := range map[string]bool{
		"another key":       known(b, new(keys).next([]byte("other")), id),
		"a key before that": known(b, later.next([]byte("a third one")), id),
		"no key":            known(b, new(keys), id),
		"another hub":       known(sessionIDs{"other", "BBBB"}, key, id),
		"longer tags":       known(sessionIDs{"hub", "BBBBB"}, key, id),
	} {
		if is {
			t.Error("known with", name)
		}
	}
	if _, ok := a.tagOf(key, id, "other"); ok {
		t.Error("an id of another endpoint")
	}
	// Where one name ends and the next begins matters.
	if a.code(key.current, "x", "y") == (&sessionIDs{"huby", "AAAA"}).code(key.current, "x", "") {
		t.Error("names run together")
	}
	for i := range id {
		changed := []byte(id)
		changed[i] ^= 1
		if known(b, key, string(changed)) {
			t.Errorf("an id that was changed at %d", i)
		}
	}
	if a.make(key.current, "default") == id {
		t.Error("an id was made twice")
	}
}

// FuzzSessionIDs: ids of clients are what they like.
func FuzzSessionIDs(f *testing.F) {
	ids, key := sessionIDs{"hub", "AAAA"}, new(keys).next([]byte("secret"))
	f.Add(ids.make(key.current, "default"))
	f.Add("")
	f.Fuzz(func(t *testing.T, id string) {
		if tag, ok := ids.tagOf(key, id, "default"); ok && tag != "AAAA" {
			t.Errorf("%q is taken for an id of %q", id, tag)
		}
	})
}

func TestLimits(t *testing.T) {
	l := limits{byAddress: make(map[string]int)}
	var releases []func()
	acquire := func(address string) bool {
		release, ok := l.acquire(address)
		if ok {
			releases = append(releases, release)
		}
		return ok
	}
	for i := range maxPerAddress {
		if !acquire(fmt.Sprintf("2001:db8::%x", i)) {
			t.Fatal("refused", i)
		}
	}
	if acquire("2001:db8::ffff") || acquire("2001:db8:0:0:ffff::1%eth0") {
		t.Error("one network has too many")
	}
	if !acquire("2001:db8:0:1::1") || !acquire("192.0.2.1") || !acquire("") || !acquire("@") {
		t.Error("others are refused")
	}
	for i := 0; l.all < maxForwarded; i++ {
		if !acquire(fmt.Sprint("client ", i)) {
			t.Fatal("refused", i)
		}
	}
	if acquire("another") {
		t.Error("too many in all")
	}
	for _, release := range releases {
		release()
	}
	if l.all != 0 || len(l.byAddress) != 0 {
		t.Errorf("%d are left, of %d addresses", l.all, len(l.byAddress))
	}
}

// TestRoundTrip has one node's streams lead to themselves.
func TestRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		streams := stream.New("self")
		bodies := make(chan []byte, 1000)
		streams.Use(func(_ string, body []byte) error { bodies <- body; return nil }, nil)
		go func() {
			for body := range bodies {
				if err := streams.Receive("self", body); err != nil {
					t.Error(err)
				}
			}
		}()
		living, away := true, false
		f := New(Options{
			Hub: "hub", Tag: "AAAA", Streams: streams,
			Tagged: func(tag string) (string, bool) { return "self", living && tag == "AAAA" },
			Away:   func() bool { return away },
		})
		f.SetKey([]byte("secret"))
		waits := make(chan struct{})
		e := f.Endpoint("default", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if r.URL.Path == "/wait" {
				<-r.Context().Done()
				close(waits)
				return
			}
			_, _ = fmt.Fprint(w, r.Method, " ", r.URL, " ", r.RemoteAddr, " ", string(body))
		}))
		missing := &Endpoint{f, "missing"}
		ask := func(ctx context.Context, e *Endpoint, path string) string {
			owner, ok := e.Owner(e.NewID(), "192.0.2.1")
			if !ok {
				return "no owner"
			}
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://owner"+path, strings.NewReader("hello"))
			if err != nil {
				t.Fatal(err)
			}
			answer, err := owner.RoundTrip(r)
			if err != nil {
				return err.Error()
			}
			body, err := io.ReadAll(answer.Body)
			return fmt.Sprint(answer.StatusCode, " ", string(body), errors.Join(err, answer.Body.Close()))
		}
		ctx, cancel := context.WithCancel(t.Context())
		for _, test := range []struct{ got, want string }{
			{ask(ctx, e, "/x?y=z"), "200 POST /x?y=z 192.0.2.1 hello<nil>"},
			{ask(ctx, missing, "/"), `400 {"code":1,"message":"Session ID unknown"}<nil>`},
		} {
			if test.got != test.want {
				t.Errorf("%q, want %q", test.got, test.want)
			}
		}
		canceled := make(chan string)
		go func() { canceled <- ask(ctx, e, "/wait") }()
		synctest.Wait()
		cancel()
		if got := <-canceled; !strings.Contains(got, context.Canceled.Error()) {
			t.Error(got)
		}
		<-waits
		away = true
		if got := ask(t.Context(), e, "/"); got != ErrAway.Error() {
			t.Error(got)
		}
		away, living = false, false
		if got := ask(t.Context(), e, "/"); got != "no owner" {
			t.Error(got)
		}
		living = true
		f.limits.all = maxForwarded
		if got := ask(t.Context(), e, "/"); got != ErrTooMany.Error() {
			t.Error(got)
		}
		f.limits.all = 0
		synctest.Wait()
		if streams.Len() != 0 || len(f.limits.byAddress) != 0 {
			t.Error("something is left")
		}
		f.Close()
		if _, err := streams.Dial("self"); err == nil {
			t.Error("it is not closed")
		}
		close(bodies)
	})
}
