package webhook

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func secretOf(key string) string {
	return secretPrefix + base64.StdEncoding.EncodeToString([]byte(key))
}

func TestSign(t *testing.T) {
	newer, older, other := secretOf(strings.Repeat("new", 10)), secretOf(strings.Repeat("old", 10)), secretOf(strings.Repeat("odd", 10))
	var secrets []Secret
	for _, text := range []string{newer, older} {
		secret, err := ParseSecret(text)
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, secret)
	}
	body := []byte(`{"v":1}`)
	header := make(http.Header)
	sign(header.Set, secrets, "msg_1", time.Now(), body)
	for text, good := range map[string]bool{newer: true, older: true, other: false} {
		webhook, err := standardwebhooks.NewWebhook(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := webhook.Verify(body, header); (err == nil) != good {
			t.Errorf("with %s: %v", text, err)
		}
		if err := webhook.Verify([]byte(`{"v":2}`), header); err == nil {
			t.Errorf("with %s another body is verified", text)
		}
	}
}

func TestParseSecret(t *testing.T) {
	for text, good := range map[string]bool{
		secretOf(strings.Repeat("x", minKey)):   true,
		secretOf(strings.Repeat("x", maxKey)):   true,
		secretOf(strings.Repeat("x", minKey-1)): false,
		secretOf(strings.Repeat("x", maxKey+1)): false,
		"":                                      false, "whsec_": false, "whsec_!": false,
		base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 32))): false,
	} {
		secret, err := ParseSecret(text)
		if (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
		if err != nil && len(text) > 10 && strings.Contains(err.Error(), text[6:]) {
			t.Errorf("the error says the secret: %v", err)
		}
		if strings.Contains(secret.String(), "x") {
			t.Errorf("a secret is written as %s", secret)
		}
	}
}
