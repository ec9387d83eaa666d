package caddy

import (
	"fmt"
	"regexp"

	"github.com/caddyserver/caddy/v2"
)

// variable is a placeholder whose name may be part of an error. Other text in braces may
// be a secret.
var variable = regexp.MustCompile(`\{(env|file)\.[^{}]*\}`)

// expand returns a setting with its placeholders filled in, when a configuration is
// loaded. A placeholder without a value is an error, which contains neither the setting
// nor the values of the others.
func expand(name, text string) (string, error) {
	replacer := caddy.NewReplacer()
	expanded, err := replacer.ReplaceOrErr(text, true, true)
	if err == nil {
		return expanded, nil
	}
	culprit := "a placeholder"
	for _, v := range variable.FindAllString(text, -1) {
		if _, err := replacer.ReplaceOrErr(v, true, true); err != nil {
			culprit = v
			break
		}
	}
	return "", fmt.Errorf("%s has %s, which stands for nothing; set it", name, culprit)
}
