// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"strings"

	"github.com/otelcol-reflex/reflex/internal/detect"
)

// Selection chooses dimensions by the names of columns or metrics. It is read
// from a comma-separated list: a name, a glob (* any run of characters, ? any
// one), "!" before it to leave out what it names, and ":counter", ":growth" or
// ":gauge" after it to say what is taken from the column. A later entry
// overrides an earlier one. A list whose first entry leaves something out begins
// with everything.
type Selection []choice

type choice struct {
	pattern string
	exclude bool
	kind    detect.Kind
	said    bool // the entry names a kind
}

var kinds = map[string]detect.Kind{"counter": detect.Rate, "growth": detect.Growth, "gauge": detect.Level}

// ParseSelection reads a list. The empty list selects everything.
func ParseSelection(list string) (Selection, error) {
	var s Selection
	if strings.TrimSpace(list) == "" {
		return s, nil
	}
	for entry := range strings.SplitSeq(list, ",") {
		c := choice{pattern: strings.TrimSpace(entry)}
		if i := strings.LastIndexByte(c.pattern, ':'); i >= 0 {
			if kind, ok := kinds[c.pattern[i+1:]]; ok {
				c.pattern, c.kind, c.said = c.pattern[:i], kind, true
			}
		}
		c.pattern, c.exclude = strings.CutPrefix(c.pattern, "!")
		if c.pattern == "" {
			return nil, fmt.Errorf("%q: an entry is empty", list)
		}
		s = append(s, c)
	}
	return s, nil
}

// beginsWithAll says that the first entry leaves something out, which must then
// be out of everything.
func (s Selection) beginsWithAll() bool { return len(s) == 0 || s[0].exclude }

// exact says whether an entry is name itself, and no glob.
func (s Selection) exact(name string) bool {
	for _, c := range s {
		if c.pattern == name && !c.exclude {
			return true
		}
	}
	return false
}

// pick decides about name; said means that the list names the kind.
func (s Selection) pick(name string) (kind detect.Kind, said, taken bool) {
	taken = s.beginsWithAll()
	for _, c := range s {
		if matches(c.pattern, name) {
			kind, said, taken = c.kind, c.said, !c.exclude
		}
	}
	return kind, said, taken
}

// unknown is the first entry that names none of names, or "".
func (s Selection) unknown(names []string) string {
	for _, c := range s {
		known := false
		for _, name := range names {
			known = known || matches(c.pattern, name)
		}
		if !known {
			return c.pattern
		}
	}
	return ""
}

// matches compares name with a glob; a name that holds glob characters matches
// itself too. It takes time proportional to the product of both lengths at most.
func matches(glob, name string) bool {
	if glob == name {
		return true
	}
	g, n := 0, 0
	star, resume := -1, 0
	for n < len(name) {
		switch {
		case g < len(glob) && glob[g] == '*':
			star, resume = g, n
			g++
		case g < len(glob) && (glob[g] == '?' || glob[g] == name[n]):
			g++
			n++
		case star >= 0:
			resume++
			g, n = star+1, resume
		default:
			return false
		}
	}
	for g < len(glob) && glob[g] == '*' {
		g++
	}
	return g == len(glob)
}
