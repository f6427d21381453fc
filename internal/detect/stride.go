// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

// stride picks one of mean decisions on average, irregularly: at regular
// intervals an input with a rhythm would show the same phase of it each time.
type stride struct {
	mean  int
	wait  int    // decisions until the next
	state uint32 // of a linear congruential generator (Knuth 1998, §3.3.4)
}

// due advances by one decision and reports whether it is picked.
func (s *stride) due() bool {
	if s.wait--; s.wait > 0 {
		return false
	}
	s.wait = 1 + s.draw(2*s.mean-1)
	return true
}

// draw returns a number from 0 to n − 1.
func (s *stride) draw(n int) int {
	s.state = s.state*1664525 + 1013904223
	return int(s.state>>8) % n
}
