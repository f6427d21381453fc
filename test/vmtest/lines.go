// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import "bufio"

// Lines hands on what is written to it, as a machine's output is, line by line and
// without line ends.
type Lines struct {
	Line    func(line []byte)
	partial []byte
}

// Write implements [io.Writer]. It does not fail.
func (l *Lines) Write(b []byte) (int, error) {
	l.partial = append(l.partial, b...)
	for {
		advance, line, _ := bufio.ScanLines(l.partial, false)
		if advance == 0 {
			return len(b), nil
		}
		l.Line(line)
		l.partial = l.partial[advance:]
	}
}
