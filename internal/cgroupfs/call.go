// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupfs

// Call is one call on the kernel about a cgroup: what it does, to which file or
// attribute.
type Call struct {
	Verb   string // open, read, write, get attribute, set attribute, remove attribute
	Cgroup uint64
	Name   string
}

// WithCalls has before called ahead of each call, for tests that stop there. An
// error is the kernel's answer, and the call is not made.
func WithCalls(before func(Call) error) Option { return func(r *Root) { r.before = before } }

// before is where a test may stop ahead of a call.
func (d *Dir) before(verb, name string) error {
	if d.root.before == nil {
		return nil
	}
	if err := d.root.before(Call{verb, d.id, name}); err != nil {
		return d.wrap(verb, name, err)
	}
	return nil
}
