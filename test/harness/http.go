package harness

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
)

// An Answer is the answer to a request.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// plainHTTP returns a client that sends requests as they are: no cookies, no redirects,
// no compression, and a new connection for each request.
func plainHTTP(trust *tls.Config) *http.Client {
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       Timeout,
	}
}

// Request sends a request that must be answered. header has names and values in turn.
func (s *Server) Request(t testing.TB, method, path, body string, header ...string) Answer {
	t.Helper()
	a, err := s.TryRequest(context.Background(), method, path, body, header...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// TryRequest is Request for a request that may fail.
func (s *Server) TryRequest(ctx context.Context, method, path, body string, header ...string) (Answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, s.URL()+path, strings.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			request.Host = header[i+1]
		} else {
			request.Header.Add(header[i], header[i+1])
		}
	}
	response, err := s.HTTP.Do(request)
	if err != nil {
		return Answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return Answer{response.StatusCode, response.Header, string(text)}, err
}
