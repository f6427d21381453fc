// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"io"
	"regexp"
	"strings"
)

// result is the end of one test that ran in the guest.
type result struct {
	name    string // "TestA" or "TestA/case"
	verdict string // "PASS", "FAIL" or "SKIP"; "" for one that never ended
	output  []string
}

var (
	ran   = regexp.MustCompile(`^=== (?:RUN|CONT|PAUSE|NAME) +(\S+)`)
	ended = regexp.MustCompile(`^ *--- (PASS|FAIL|SKIP): (\S+) \(`)
)

// parseResults reads what a Go test binary prints with -test.v and returns its
// tests in the order in which they began. Lines belong to the test that was
// named last.
func parseResults(r io.Reader) []*result {
	var all []*result
	byName := map[string]*result{}
	named := func(name string) *result {
		if byName[name] == nil {
			byName[name] = &result{name: name}
			all = append(all, byName[name])
		}
		return byName[name]
	}
	var current *result
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if m := ran.FindStringSubmatch(line); m != nil {
			current = named(m[1])
		} else if m := ended.FindStringSubmatch(line); m != nil {
			current = named(m[2])
			current.verdict = m[1]
			current.output = append(current.output, strings.TrimSpace(line))
		} else if current != nil {
			current.output = append(current.output, line)
		}
	}
	return all
}
