package response

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestExpired: a request that waits for its client fails once it is expired, and not before.
func TestExpired(t *testing.T) {
	for name, test := range map[string]struct {
		request string
		serve   func(w http.ResponseWriter, r *http.Request) error
	}{
		"body": {
			"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345",
			func(_ http.ResponseWriter, r *http.Request) error {
				_, err := io.ReadAll(r.Body)
				return err
			},
		},
		"answer": {
			"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
			func(w http.ResponseWriter, _ *http.Request) error {
				for {
					if _, err := w.Write(bytes.Repeat([]byte("a"), 1<<20)); err != nil {
						return err
					}
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			expired, cut := context.WithCancel(t.Context())
			began, ended := make(chan struct{}), make(chan error, 1)
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				answer := New(w, r, nil, expired)
				defer answer.Finish()
				close(began)
				ended <- test.serve(answer, r)
			}))
			defer s.Close()
			conn, err := net.Dial("tcp", s.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if _, err := io.WriteString(conn, test.request); err != nil {
				t.Fatal(err)
			}
			<-began
			select {
			case err := <-ended:
				t.Fatalf("it has failed too early: %v", err)
			case <-time.After(50 * time.Millisecond):
			}
			cut()
			if err := <-ended; err == nil || !strings.Contains(err.Error(), "timeout") {
				t.Errorf("it has failed with %v", err)
			}
		})
	}
}

// TestNotExpired: a request that is not expired is answered as without a limit.
func TestNotExpired(t *testing.T) {
	expired, cut := context.WithCancel(t.Context())
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := New(w, r, nil, expired)
		defer answer.Finish()
		_, _ = fmt.Fprint(answer, "here")
	}))
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	reader := bufio.NewReader(conn)
	for range 2 {
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if string(body) != "here" {
			t.Errorf("the answer is %q", body)
		}
	}
	cut()
}
