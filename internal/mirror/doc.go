// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package mirror tells systemd what the guard holds on cgroups that systemd owns.
//
// systemd writes the knobs of its units again, all of them when any setting changes, and
// some when it is reloaded. It knows nothing of a lease, so the
// knob goes back to what the unit says and the lease is lost. A [Mirror] therefore
// sets the unit's property to what the lease declares, at runtime only, so that
// systemd writes a value which the guard takes for its own.
//
// It is no part of the arc. It asks the guard from a process of its own what is held,
// twice a second, and nobody waits for it: a lease that systemd is not told of yet is
// a lease like any other. What it told it takes back when the lease is over, when the
// guard does not answer, when it ends, and, from a file, when it is started again.
//
// It leaves a unit alone whose cgroup does not have what its properties say: somebody
// else writes there as well, and systemd, told of one property, would write all.
package mirror
