// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package story

import (
	"fmt"

	"github.com/otelcol-reflex/reflex/internal/words"
)

// Prose is text in paragraphs.
type Prose []Paragraph

// Paragraph is some sentences, and a list below them.
type Paragraph struct {
	Text  string   `json:"text"`
	Items []string `json:"items,omitempty"`
}

// Say begins a paragraph.
func (p *Prose) Say(format string, args ...any) {
	*p = append(*p, Paragraph{Text: words.Printable(fmt.Sprintf(format, args...))})
}

// Add goes on with the last paragraph.
func (p *Prose) Add(format string, args ...any) {
	(*p)[len(*p)-1].Text += words.Printable(fmt.Sprintf(format, args...))
}

// Item adds to the list of the last paragraph.
func (p *Prose) Item(format string, args ...any) {
	last := &(*p)[len(*p)-1]
	last.Items = append(last.Items, words.Printable(fmt.Sprintf(format, args...)))
}
