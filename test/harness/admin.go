package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

// Reload posts a Caddyfile to the admin API and returns its answer.
func (s *Server) Reload(path string) (status int, answer string) {
	s.t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.AskAdmin(http.MethodPost, "/load", body)
}

// AskAdmin sends a request to the admin API and returns its answer.
func (s *Server) AskAdmin(method, path string, body []byte) (status int, answer string) {
	s.t.Helper()
	admin := http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", s.path("admin.sock"))
			},
			DisableKeepAlives: true,
		},
		Timeout: Timeout,
	}
	request, err := http.NewRequest(method, "http://admin"+path, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "text/caddyfile")
	response, err := admin.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		s.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// MustReload loads a configuration that must be accepted. It returns when the server
// has closed the old listeners.
func (s *Server) MustReload(c Config) {
	s.t.Helper()
	s.MustReloadFile(s.WriteConfig("Caddyfile.new", c))
}

// MustReloadFile is MustReload for a Caddyfile that the test has written.
func (s *Server) MustReloadFile(path string) {
	s.t.Helper()
	if status, answer := s.Reload(path); status != http.StatusOK {
		s.t.Fatalf("reload: %d %s", status, answer)
	}
	s.waitListeners()
}

// StartReload starts a reload that must be accepted. done waits for its end.
func (s *Server) StartReload(c Config) (done func()) {
	s.t.Helper()
	path := s.WriteConfig("Caddyfile.new", c)
	result := make(chan string, 1)
	go func() {
		status, answer := s.Reload(path)
		if status != http.StatusOK {
			result <- fmt.Sprint(status, " ", answer)
		}
		close(result)
	}()
	return func() {
		s.t.Helper()
		if problem := <-result; problem != "" {
			s.t.Fatalf("reload: %s", problem)
		}
		s.waitListeners()
	}
}
