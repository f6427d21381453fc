// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"sync"
)

// console keeps the end of what the kernel printed and passes everything on.
type console struct {
	mu   sync.Mutex
	next io.Writer
	tail []byte
	// hung is closed when the kernel stands still.
	hung   chan struct{}
	stands bool
}

func newConsole(next io.Writer) *console { return &console{next: next, hung: make(chan struct{})} }

const consoleKept = 64 << 10

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tail = append(c.tail, p...)
	recent := c.tail[max(0, len(c.tail)-len(p)-len(starved)):] // it may have come in two parts
	if !c.stands && bytes.Contains(recent, []byte(starved)) && len(stalls.FindAll(c.tail, 2)) == 2 {
		c.stands = true
		close(c.hung)
	}
	if over := len(c.tail) - consoleKept; over > 0 {
		c.tail = append(c.tail[:0], c.tail[over:]...)
	}
	_, _ = c.next.Write(p) // the console is a convenience, not a reason to fail
	return len(p), nil
}

// lastLines returns the last n lines.
func (c *console) lastLines(n int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(bytes.ReplaceAll(c.tail, []byte("\r"), nil))), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// faults are the kernel's words for exceptions that it did not expect. Software
// emulation raises them now and then where hardware does not.
var faults = regexp.MustCompile(`(?m)^.*(double fault|int3: 0000|Oops: |BUG: unable to handle|BUG: kernel NULL|general protection fault|invalid opcode: 0000|stack segment: 0000|traps: PANIC).*$`)

// stalls are the kernel's words for a CPU that does not get on, said after 21 s
// and then about once a minute. A host that is busy can cause one; who says it
// twice has stood still for more than a minute.
const starved = "kthread starved for"

var stalls = regexp.MustCompile(`(?m)^.*rcu_\w+ ` + starved + `.*$`)

// fault returns the line that tells of an unexpected exception, or of a kernel that
// stands still; or "".
func (c *console) fault() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if line := faults.Find(c.tail); line != nil {
		return strings.TrimSpace(string(line))
	}
	if c.stands {
		return strings.TrimSpace(string(stalls.Find(c.tail)))
	}
	return ""
}

var panics = regexp.MustCompile(`(?m)Kernel panic - .*$`)

// epitaph returns the line in which the kernel says why it panicked, if it did, and
// the last n lines.
func (c *console) epitaph(n int) string {
	last := c.lastLines(n)
	c.mu.Lock()
	defer c.mu.Unlock()
	if line := strings.TrimSpace(string(panics.Find(c.tail))); line != "" {
		return line + "\n...\n" + last
	}
	return last
}
