package redisbroker

import (
	"strings"
	"testing"
)

func TestAddresses(t *testing.T) {
	for text, want := range map[string]address{
		"redis://localhost":             {hostPort: "localhost:6379"},
		"redis://10.0.0.1:7000/":        {hostPort: "10.0.0.1:7000"},
		"valkey://[::1]:1/0":            {hostPort: "[::1]:1"},
		"rediss://user:p%23ss@host":     {hostPort: "host:6379", secure: true, username: "user", password: "p#ss"},
		"valkeys://:only-password@host": {hostPort: "host:6379", secure: true, password: "only-password"},
	} {
		if got, err := parseAddress(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

// An error says what would be right, and never has a password in it.
func TestWrongOptions(t *testing.T) {
	tests := map[string]struct {
		options Options
		want    string
	}{
		"no URL":             {Options{}, "a URL is missing"},
		"a scheme":           {Options{URLs: []string{"http://u:secret@host"}}, "redis:// or rediss://"},
		"no scheme":          {Options{URLs: []string{"host:6379"}}, "redis:// or rediss://"},
		"malformed":          {Options{URLs: []string{"redis://u:secret#@host:x y"}}, "malformed"},
		"malformed password": {Options{URLs: []string{"redis://u:secret%zz@host"}}, "malformed"},
		"no host":            {Options{URLs: []string{"redis://u:secret@"}}, "has no host"},
		"a database":         {Options{URLs: []string{"redis://u:secret@host/3"}}, "set a prefix instead"},
		"a query":            {Options{URLs: []string{"redis://u:secret@host?db=1"}}, "write options in the block"},
		"two passwords":      {Options{URLs: []string{"redis://u:secret@a", "redis://u:other-secret@b"}}, "differ in more than their hosts"},
		"with and without":   {Options{URLs: []string{"redis://a", "rediss://b"}}, "differ in more than their hosts"},
		"braces":             {Options{URLs: []string{"redis://a"}, Prefix: "{x}"}, "braces"},
	}
	for name, test := range tests {
		_, err := New(test.options)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzAddress(f *testing.F) {
	f.Add("rediss://user:password@[::1]:6379/0")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parseAddress(text)
		if err == nil && a.hostPort == "" {
			t.Errorf("%q has no address", text)
		}
	})
}
