// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/guard"
)

// nodeAction is the one action that is about no part of the node.
var nodeAction = arc.ActionNodeQuarantine.String()

// stillPasses says with whom a node in quarantine still works.
func stillPasses(l *guard.Listed) []string {
	var lines []string
	for _, list := range []struct {
		what      string
		prefixes  []netip.Prefix
		essential bool
	}{
		{"SSH to this node still passes from", l.Management, true},
		{"what the node must not be without still passes with", l.Peers, true},
		{"everything still passes with", l.Allowed, false},
	} {
		if len(list.prefixes) > 0 && (!list.essential || l.Environment.Essentials()) {
			text := make([]string, len(list.prefixes))
			for i, p := range list.prefixes {
				text[i] = p.String()
			}
			lines = append(lines, list.what+" "+strings.Join(text, ", "))
		}
	}
	return lines
}

// sessionOf is the SSH session that a process is part of: where it comes from, and
// the port here. Commands like sudo take it out of what they start, so that it is
// looked for in their parents. Replaced in tests.
var sessionOf = func() (from netip.Addr, port uint16, found bool) {
	if from, port, found = sessionIn([]byte(strings.Join(os.Environ(), "\x00"))); found {
		return from, port, found
	}
	for pid, n := os.Getppid(), 0; pid > 1 && n < maxParents; n++ {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
		if err != nil {
			break
		}
		if from, port, found = sessionIn(text); found {
			return from, port, found
		}
		if pid, err = parentOf(pid); err != nil {
			break
		}
	}
	return from, port, false
}

// maxParents is how far up a session is looked for.
const maxParents = 32

// sessionIn reads SSH_CONNECTION of an environment: the other end's address and
// port, and this one's.
func sessionIn(environment []byte) (from netip.Addr, port uint16, found bool) {
	for entry := range bytes.SplitSeq(environment, []byte{0}) {
		value, is := strings.CutPrefix(string(entry), "SSH_CONNECTION=")
		fields := strings.Fields(value)
		if !is || len(fields) != 4 {
			continue
		}
		from, err := netip.ParseAddr(fields[0])
		at, failed := strconv.ParseUint(fields[3], 10, 16)
		if err == nil && failed == nil {
			return from.Unmap().WithZone(""), uint16(at), true
		}
	}
	return from, 0, false
}

func parentOf(pid int) (int, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if parent, is := strings.CutPrefix(line, "PPid:"); is {
			return strconv.Atoi(strings.TrimSpace(parent))
		}
	}
	return 0, errors.New("the kernel names no parent")
}

const portSSH = 22 // of which the guard's rule is

// keepsASession reports that the session in which a node is to be cut off would be
// cut off with it.
func (t *target) keepsASession(l *guard.Listed) error {
	from, port, found := sessionOf()
	if !t.node || t.lockedOut || !found || from.IsLoopback() {
		return nil
	}
	in := func(prefixes []netip.Prefix) bool {
		return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(from) })
	}
	switch {
	case in(l.Allowed), l.Environment.Essentials() && port == portSSH && in(l.Management):
		return nil
	case !l.Environment.Essentials():
		return fmt.Errorf("this session comes from %s and would be cut off: in the environment %s only what is listed under --allow of reflexguard passes; or say --without-a-way-in", from, l.Environment)
	case in(l.Management):
		return fmt.Errorf("this session comes in by port %d, and only SSH's own, 22, is spared: list %s under --allow of reflexguard, or say --without-a-way-in", port, from)
	}
	return fmt.Errorf("this session comes from %s and would be cut off: list it under --management or --allow of reflexguard, or say --without-a-way-in", from)
}

// releaseNode ends a quarantine of the node, whoever renews it.
func (o *operator) releaseNode(c *cobra.Command, output format) error {
	n, err := ask(c.Context(), o.guard, func(ctx context.Context, g *guard.Client) (int, error) {
		s, err := g.Status(ctx)
		if err != nil {
			return 0, err
		}
		n := 0
		for i := range s.Leases {
			l := &s.Leases[i]
			if l.Knob != nodeAction {
				continue
			}
			n++
			err = errors.Join(err, releaseTwice(ctx, g, arc.Order{
				Action: arc.ActionNodeQuarantine, Verb: arc.Release, Observe: l.Observed, Generation: l.Generation,
				Reason: fmt.Sprintf("by an operator (uid %d): %s", os.Geteuid(), o.reason),
			}))
		}
		return n, err
	})
	switch {
	case err != nil:
		return fmt.Errorf("release the node at the guard: %w%s", err, asRoot(err))
	case n > 0:
		o.tell(c, "quarantine of the node released")
	}
	if output == asJSON {
		return writeJSON(c, &released{Target: "the node", Confirmed: true, By: "guard", Leases: &n})
	}
	line := "the node has its network back, says the guard"
	if n == 0 {
		line = "the node is not in quarantine, says the guard"
	}
	fmt.Fprintln(c.OutOrStdout(), line)
	return nil
}
