package caddy

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// positions are where a block and its options are in a Caddyfile. Some mistakes are seen only once
// the whole block has been read, and belong to one of its lines.
type positions struct {
	block   caddyfile.Dispenser
	options map[string]caddyfile.Dispenser
}

// newPositions returns those of the block whose name is the current token.
func newPositions(d *caddyfile.Dispenser) positions {
	return positions{*d, make(map[string]caddyfile.Dispenser)}
}

// add adds the option of a name, which is on the current line.
func (p positions) add(option string, d *caddyfile.Dispenser) { p.options[option] = *d }

// wrap returns an error with the line of the option that it begins with, after a prefix, or else
// with the block's first line.
func (p positions) wrap(prefix string, err error) error {
	text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), prefix), "the ")
	if end := strings.IndexAny(text, ": "); end >= 0 {
		text = text[:end]
	}
	for _, option := range []string{text, text + "s"} { // an error names one room of rooms
		if d, ok := p.options[option]; ok {
			return d.WrapErr(err)
		}
	}
	block := p.block
	return block.WrapErr(err)
}
